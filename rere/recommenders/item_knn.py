"""Item-kNN: items are alike when the same users took them.

Sarwar, Karypis, Konstan and Riedl, "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001, on
implicit data: with n_i users who took item i and n_ij who took both, the similarity is the shrunk cosine

    s_ij = n_ij / (sqrt(n_i n_j) + shrinkage)

and each item keeps its `neighbours` most similar ones (equal ones by item index).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from rere.recommenders.item_item import NonNegativeModel, RelationConfig, interactions, nearest
from rere.recommenders.item_model import FitData


class ItemKNNConfig(RelationConfig):
    """Item-kNN by the shrunk cosine of the items' users."""

    type: Literal["item_knn"] = "item_knn"
    neighbours: int = Field(default=200, ge=1, description="most similar items kept per item")
    shrinkage: float = Field(default=10.0, ge=0, description="the higher, the less items with few users are trusted")


class ItemKNN(NonNegativeModel):
    """A fitted item-kNN; its weights are the kept similarities."""

    title = "item-kNN"
    config_type = ItemKNNConfig

    @classmethod
    def fit_weights(cls, data: FitData, config: ItemKNNConfig) -> csr_array:
        """At most `neighbours` similarities per row, none with the item itself."""
        table = interactions(data.sequences, data.items)
        together = csr_array(table.T @ table)
        users = together.diagonal()
        first = np.repeat(np.arange(data.items), np.diff(together.indptr))
        together.data /= np.sqrt(users[first] * users[together.indices]) + config.shrinkage
        return nearest([together], config.neighbours)
