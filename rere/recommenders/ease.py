"""EASE: every item's score is a linear function of the items in the history, solved in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv 1905.03375). With X the (U, I) binary
user-item matrix and l the strength of the penalty, B minimises |X - XB|² + l|B|² with a zero diagonal:

    P = (XᵀX + l·1)⁻¹,  B_ij = -P_ij / P_jj for i ≠ j

The paper ignores order (`recency` 1), and its scores are no probabilities; here a softmax over `sharpness` times the
scores makes them so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from rere.recommenders.item_item import ItemItemConfig, ItemItemModel, interactions
from rere.recommenders.item_model import FitData


class EASEConfig(ItemItemConfig):
    """EASE (arXiv 1905.03375): a closed-form item-item model; the paper's `recency` is 1."""

    type: Literal["ease"] = "ease"
    recency: float = Field(
        default=0.6, gt=0, le=1, description="an item j positions before a history's last counts recency^j"
    )
    l2: float = Field(default=300.0, gt=0, description="penalty on the squared weights")
    sharpness: float = Field(default=10.0, gt=0, description="probabilities are a softmax of this times the scores")


class EASE(ItemItemModel):
    """A fitted EASE; its weights are B."""

    title = "EASE"
    config_type = EASEConfig

    @classmethod
    def fit_weights(cls, data: FitData, config: EASEConfig) -> np.ndarray:
        """B. Takes time ~ I³ and about 24·I² bytes: 2.4 GB for 10,000 items."""
        table = interactions(data.sequences, data.items)
        gram = (table.T @ table).toarray(order="F")  # LAPACK's order: solved in place
        gram[np.diag_indices(data.items)] += config.l2
        factor = cho_factor(gram, lower=True, overwrite_a=True)
        weights = cho_solve(factor, np.eye(data.items, order="F"), overwrite_b=True)
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0.0)
        return np.ascontiguousarray(weights)  # by rows, as `scores` reads it

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """See `ItemItemModel`."""
        return (torch.from_numpy(scores) * self.config.sharpness).softmax(1).numpy()
