"""A recommender whose lists hold nothing that the history holds: what a rival has where nobody takes an item twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking, Recommender


class WithoutHistory:
    """Ranks as another recommender, with each history's own items taken out."""

    def __init__(self, recommender: Recommender) -> None:
        self.name, self.recommender = recommender.name, recommender

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`: the k best of the other items."""
        own = [set(history) for history in histories]
        wide = self.recommender.recommend(histories, k + max(map(len, own)))
        kept = np.array(
            [[item not in taken for item in row] for row, taken in zip(wide.items.tolist(), own, strict=True)]
        )
        first = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        others = np.take_along_axis(kept, first, axis=1)
        items = np.take_along_axis(wide.items, first, axis=1)
        scores = np.take_along_axis(wide.scores, first, axis=1)
        return Ranking(np.where(others, items, -1), np.where(others, scores, -np.inf).astype(np.float32))
