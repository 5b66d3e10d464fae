"""Item-item models: what an item of the history adds to every item's score, and how scores become log-probabilities.

An item j positions before the last counts `recency` to the power of j; one that occurs more than once counts by its
latest position. How often users return to an item of their history is learned from the training period too: such items
share the mass that returns have there, and all others the rest. Sums of weights know nothing of it, while networks
learn it: where nobody takes an item twice, a list's first positions would be wasted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array

from rere.config.variants import Variant
from rere.data.sequences import item_counts
from rere.recommenders.item_model import SCORE, FitData, ItemModel

SMALLEST = 1e-12  # a probability: keeps logarithms finite


class ItemItemConfig(Variant):
    """What the settings of all item-item models have."""

    history_items: int = Field(default=10, ge=1, description="items looked at")
    recency: float = Field(
        default=0.7, gt=0, le=1, description="an item j positions before a history's last counts recency^j"
    )


class RelationConfig(ItemItemConfig):
    """What the settings of models whose scores are counts or similarities have."""

    popularity: float = Field(
        default=0.05, gt=0, lt=1, description="share of the probability that goes by popularity, whatever the history"
    )


class ItemItemModel(ItemModel):
    """Scores every item by the history's items alone.

    Args:
        weights: (I, I) float64, dense or sparse: row i is what item i of a history adds to every item's score.
        counts: (I,) int64 training interactions per item.
        returns: share of training targets that stand among the `history_items` items before them.
    """

    def __init__(self, weights: np.ndarray | csr_array, counts: np.ndarray, returns: float, config: Any) -> None:
        super().__init__(len(counts), config)
        self.weights, self.counts, self.returns = weights, counts, returns
        self.popularity = (counts + 1) / (counts.sum() + len(counts))  # each item counted once more: none is impossible

    @classmethod
    @abstractmethod
    def fit_weights(cls, data: FitData, config: Any) -> np.ndarray | csr_array:
        """(I, I) float64 weights from the training period. Deterministic."""

    @abstractmethod
    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(P, I) float64 scores -> (P, I) float64 probabilities, before returns count; may overwrite `scores`."""

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """(P, I) float64: the sum of the weights of each history's items, faded by age."""
        return self._sums(self._faded(histories))

    @classmethod
    def fit(cls, data: FitData, config: Any) -> Self:
        """Weights, popularity and returns of the training period."""
        counts = item_counts(data.sequences, data.items)
        returns = returning_share(data.sequences, config.history_items)
        model = cls(cls.fit_weights(data, config), counts, returns, config)
        model.curves = [{SCORE: data.score(model)}]
        return model

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """See `ItemModel`."""
        faded = self._faded(histories)
        found = self.probabilities(self._sums(faded))
        rows, columns = np.repeat(np.arange(len(found)), np.diff(faded.indptr)), faded.indices  # the histories' items
        seen = found[rows, columns]
        found[rows, columns] = 0
        found *= _factors(1 - self.returns, found.sum(1))[:, None]
        seen_mass = np.bincount(rows, weights=seen, minlength=len(found))
        found[rows, columns] = seen * _factors(self.returns, seen_mass)[rows]
        np.maximum(found, SMALLEST * (1 + self.popularity), out=found)  # what has no mass goes by popularity
        found /= found.sum(1, keepdims=True)
        return torch.from_numpy(found).log_().float().numpy()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights, counts and the share of returns."""
        arrays = {"counts": self.counts, "returns": np.array(self.returns)}
        if isinstance(self.weights, csr_array):
            arrays |= {"data": self.weights.data, "columns": self.weights.indices, "starts": self.weights.indptr}
        else:
            arrays |= {"weights": self.weights}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], items: int, config: Any) -> Self:
        """See `ItemModel`."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        weights = arrays.get("weights")
        if weights is None:
            weights = csr_array((arrays["data"], arrays["columns"], arrays["starts"]), shape=(items, items))
        return cls(weights, arrays["counts"], arrays["returns"].item(), config)

    def _sums(self, faded: csr_array) -> np.ndarray:
        found = faded @ self.weights
        return np.asarray(found.toarray() if isinstance(found, csr_array) else found, dtype=np.float64)

    def _faded(self, histories: Sequence[Sequence[int]]) -> csr_array:
        """(P, I) float64: `recency` to the power of each item's age among the last `history_items` of its history."""
        columns: list[int] = []
        values: list[float] = []
        starts = [0]
        powers = [self.config.recency**age for age in range(self.config.history_items)]
        for history in histories:
            recent = history[-self.config.history_items :]
            weights = dict(zip(recent, powers[len(recent) - 1 :: -1], strict=False))  # an item's latest position stays
            columns += weights
            values += weights.values()
            starts.append(len(columns))
        return csr_array((values, np.array(columns, dtype=np.int64), starts), shape=(len(histories), self.items))


class NonNegativeModel(ItemItemModel):
    """Scores that are counts or similarities: scaled to sum to 1, and mixed with a part of popularity.

    So items that none of the history's is related to are ranked by popularity.
    """

    config: RelationConfig

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """See `ItemItemModel`."""
        total = scores.sum(1)
        part = np.where(total > 0, self.config.popularity, 1.0)
        scores *= ((1 - part) / np.where(total > 0, total, 1.0))[:, None]
        scores += part[:, None] * self.popularity
        return scores


def returning_share(sequences: Sequence[np.ndarray], history_items: int) -> float:
    """Share of the items after a sequence's first that stand among the `history_items` before them; 0 of none."""
    again = [
        sequence[position] in sequence[max(0, position - history_items) : position]
        for sequence in sequences
        for position in range(1, len(sequence))
    ]
    return float(np.mean(again)) if again else 0.0


def interactions(sequences: Sequence[np.ndarray], items: int) -> csr_array:
    """(U, I) float64: 1 where a sequence holds the item, however often."""
    found = [np.unique(sequence).astype(np.int64) for sequence in sequences]
    columns = np.concatenate([np.empty(0, dtype=np.int64), *found])
    starts = np.cumsum([0, *map(len, found)])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(found), items))


def nearest(parts: Iterable[csr_array], neighbours: int) -> csr_array:
    """(I, I) float64: per row its `neighbours` highest similarities, equal ones by index, without the item itself.

    Args:
        parts: similarities of the first so many items to all, then of the next ones, and so on.
    """
    columns, values, starts = [np.empty(0, dtype=np.int64)], [np.empty(0)], [0]
    for part in parts:
        for begin, end in zip(part.indptr, part.indptr[1:], strict=False):
            others, similarity = part.indices[begin:end], part.data[begin:end]
            found = np.lexsort((others, -similarity))
            found = found[others[found] != len(starts) - 1][:neighbours]
            found = found[np.argsort(others[found])]
            columns.append(others[found])
            values.append(similarity[found])
            starts.append(starts[-1] + len(found))
    items = len(starts) - 1
    return csr_array((np.concatenate(values), np.concatenate(columns), starts), shape=(items, items))


def _factors(share: float, mass: np.ndarray) -> np.ndarray:
    """What scales each mass to `share`; rows without mass stay without."""
    return np.divide(share, mass, out=np.zeros(len(mass)), where=mass > 0)
