"""A champion with another catalogue, asked in our indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking
from rere.recommenders.cross_catalog import CrossCatalogRecommender, Translation


class Echo:
    """Ranks their items 0, 1, 2 for every history, and remembers what it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        self.asked += [list(history) for history in histories]
        rows = len(histories)
        return Ranking(np.tile(np.arange(k), (rows, 1)), np.tile(-np.arange(k, dtype=np.float32), (rows, 1)))


def test_indices_are_translated_both_ways() -> None:
    theirs, ours = ["c", "gone", "a"], ["a", "b", "c"]  # they lack b, we lost `gone`
    echo = Echo()
    translated = CrossCatalogRecommender(echo, theirs, ours)
    ranking = translated.recommend([[0, 1, 2], [1]], k=3)
    assert echo.asked == [[2, 0]]  # a, c in their indices; b left the history; the history [b] has nothing left
    assert ranking.items.tolist() == [[2, 0, -1], [-1, -1, -1]]  # c, a
    assert ranking.scores[0].tolist() == [0.0, -2.0, -np.inf]
    translation = Translation(theirs, ours)
    assert (translation.lacking, translation.unanswerable([[0, 1, 2], [1]])) == (1, 1)


def test_nothing_known_asks_nothing() -> None:
    echo = Echo()
    ranking = CrossCatalogRecommender(echo, ["x"], ["a"]).recommend([[0]], k=2)
    assert echo.asked == []
    assert ranking.items.tolist() == [[-1, -1]]
