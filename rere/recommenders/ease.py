"""EASE: every item's score is a linear function of the items in the history, solved in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv 1905.03375). With X the (U, I) binary
user-item matrix and l the strength of the penalty, B minimises |X - XB|² + l|B|² with a zero diagonal:

    P = (XᵀX + l·1)⁻¹,  B_ij = -P_ij / P_jj for i ≠ j
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from rere.config.base import Settings
from rere.recommenders.base import Ranking


class EASEConfig(Settings):
    """EASE (arXiv 1905.03375): a closed-form item-item model."""

    l2: float = Field(default=300.0, gt=0, description="penalty on the squared weights")
    recency: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="an item j positions before a history's last counts recency^j; the paper: 1",
    )


class EASE:
    """Scores an item by the sum of its weights from the history's items; equal scores by item index.

    An item j places before the last counts `recency` to the power of j (the paper knows no order: 1); one that
    occurs more than once counts by its latest place. Items of the history stay in the list, as in `Popularity`.

    Args:
        weights: (I, I) float64, B: row i is what item i of a history adds to every item's score.
    """

    def __init__(self, weights: np.ndarray, config: EASEConfig, name: str = "EASE") -> None:
        self.name, self.weights, self.config = name, weights, config

    @property
    def items(self) -> int:
        """Size of the catalogue, I."""
        return len(self.weights)

    def scores(self, history: Sequence[int]) -> np.ndarray:
        """(I,) float64 scores after a history of item indices, oldest first."""
        ages = {item: len(history) - 1 - position for position, item in enumerate(history)}  # an item's latest counts
        return self.config.recency ** np.array(list(ages.values())) @ self.weights[list(ages)]

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; the scores have no unit."""
        width = min(k, self.items)
        items = np.full((len(histories), k), -1, dtype=np.int64)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        for row, history in enumerate(histories):
            values = self.scores(history)
            items[row, :width] = np.argsort(-values, kind="stable")[:width]
            scores[row, :width] = values[items[row, :width]]
        return Ranking(items, scores)


def fit_ease(sequences: Sequence[np.ndarray], items: int, config: EASEConfig) -> EASE:
    """Solve for B in float64, from sequences of item indices over a catalogue of `items` items.

    Deterministic. Takes time ~ I³ and about 24·I² bytes: 2.4 GB for 10,000 items.
    """
    table = _interactions(sequences, items)
    gram = (table.T @ table).toarray(order="F")  # LAPACK's order: solved in place
    gram[np.diag_indices(items)] += config.l2
    factor = cho_factor(gram, lower=True, overwrite_a=True)
    weights = cho_solve(factor, np.eye(items, order="F"), overwrite_b=True)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return EASE(np.ascontiguousarray(weights), config)  # by rows, as `scores` reads it


def _interactions(sequences: Sequence[np.ndarray], items: int) -> csr_array:
    """(U, I) float64: 1 where a sequence holds the item, however often."""
    found = [np.unique(sequence).astype(np.int64) for sequence in sequences]
    columns = np.concatenate([np.empty(0, dtype=np.int64), *found])
    starts = np.cumsum([0, *map(len, found)])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(found), items))
