"""An item model whose new items count more: what a rival has where a language model's are boosted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking
from rere.recommenders.item_model import ItemModel
from rere.recommenders.rankings import rank_by


class BoostedItemModel:
    """Ranks as an item model does, with the probability of some items multiplied.

    Args:
        new: (I,) bool, which items.
    """

    def __init__(self, model: ItemModel, new: np.ndarray, factor: float) -> None:
        self.name, self.model = model.name, model
        self.added = np.where(new, np.log(factor), 0.0).astype(np.float32)

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; scores rank items, and aren't log-probabilities."""
        return rank_by(lambda own: self.model.log_probs(own) + self.added, histories, k, self.model.items)
