"""A recommender whose lists hold nothing that the history holds: what a rival has where nobody takes an item twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking
from rere.recommenders.item_model import ItemModel
from rere.recommenders.rankings import rank_by


class WithoutHistory:
    """Ranks as an item model does, with each history's own items taken out."""

    def __init__(self, model: ItemModel) -> None:
        self.name, self.model = model.name, model

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`: the k best of the other items."""
        found = rank_by(self._log_probs, histories, k, self.model.items)
        return Ranking(np.where(np.isfinite(found.scores), found.items, -1), found.scores)

    def _log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        found = self.model.log_probs(histories)
        for row, history in zip(found, histories, strict=True):
            row[list(history)] = -np.inf
        return found
