"""Evaluate a model that was trained on another catalogue on the rows of this one.

Item indices are translated through item ids. Items that the other catalogue lacks can't be in its prompts, so
they are removed from the histories; a history without known items gets an empty list, and a target that the other
catalogue lacks is a miss: exactly what a user of that model would see today. Both are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking, Recommender


class Translation:
    """Item indices of the catalogue `ours` in those of `theirs`, and back; -1 for items that the other one lacks.

    Args:
        theirs, ours: item ids in index order.
    """

    def __init__(self, theirs: Sequence[str], ours: Sequence[str]) -> None:
        their_index = {item: n for n, item in enumerate(theirs)}
        our_index = {item: n for n, item in enumerate(ours)}
        self.to_theirs = [their_index.get(item, -1) for item in ours]
        self.to_ours = np.array([our_index.get(item, -1) for item in theirs], dtype=np.int64)
        self.lacking = self.to_theirs.count(-1)  # items of ours that they lack

    def known(self, histories: Sequence[Sequence[int]]) -> list[list[int]]:
        """Our histories in their indices, without items that they lack."""
        return [[self.to_theirs[item] for item in history if self.to_theirs[item] >= 0] for history in histories]

    def unanswerable(self, histories: Sequence[Sequence[int]]) -> int:
        """The number of histories without an item of their catalogue."""
        return self.known(histories).count([])


class CrossCatalogRecommender:
    """A recommender over the catalogue `theirs`, with histories and results in the indices of `ours`: `Translation`."""

    def __init__(self, recommender: Recommender, theirs: Sequence[str], ours: Sequence[str]) -> None:
        self.name, self._recommender = recommender.name, recommender
        self._translation = Translation(theirs, ours)

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; items that our catalogue lacks are left out, so a list may be shorter."""
        items = np.full((len(histories), k), -1, dtype=np.int64)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        known, to_ours = self._translation.known(histories), self._translation.to_ours
        rows = [row for row, history in enumerate(known) if history]
        if not rows:
            return Ranking(items, scores)
        found = self._recommender.recommend([known[row] for row in rows], k)
        for index, row in enumerate(rows):
            theirs = found.items[index]
            kept = np.flatnonzero((theirs >= 0) & (to_ours[theirs] >= 0))
            items[row, : len(kept)] = to_ours[theirs[kept]]
            scores[row, : len(kept)] = found.scores[index, kept]
        return Ranking(items, scores)
