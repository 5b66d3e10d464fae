"""Counting."""

from __future__ import annotations

import numpy as np

from rere.recommenders.popularity import Popularity


def test_most_interacted_first_and_ties_by_index() -> None:
    model = Popularity.fit([np.array([3, 1, 3]), np.array([1, 0])], items=5)
    assert model.counts.tolist() == [1, 2, 0, 2, 0]
    ranking = model.recommend([[4], [1, 3]], k=5)
    assert ranking.items.tolist() == [[1, 3, 0, 2, 4]] * 2  # what was seen stays in the list
    np.testing.assert_allclose(ranking.scores[0], [0.4, 0.4, 0.2, 0.0, 0.0], rtol=1e-6)


def test_nothing_seen_ranks_by_index() -> None:
    assert Popularity.fit([], items=3).recommend([[0]], 2).items.tolist() == [[0, 1]]
