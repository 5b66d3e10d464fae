"""The most popular items, the same list for every user: the baseline that every recommender must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.data.sequences import item_counts
from rere.recommenders.base import Ranking
from rere.recommenders.labels import Label


class Popularity:
    """Ranks items by count, equal counts by item index.

    Items of the history stay in the list, as in every other recommender here: a model may learn to leave them out.

    Args:
        counts: (I,) training interactions per item.
    """

    def __init__(self, counts: np.ndarray, name: str = Label.POPULARITY) -> None:
        self.name, self.counts = name, counts
        self._order = np.argsort(-counts, kind="stable")

    @classmethod
    def fit(cls, sequences: Sequence[np.ndarray], items: int) -> Popularity:
        """Count sequences of item indices over a catalogue of `items` items."""
        return cls(item_counts(sequences, items))

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; the score is the share of all training interactions."""
        items = np.full(k, -1, dtype=np.int64)
        scores = np.full(k, -np.inf, dtype=np.float32)
        top = self._order[:k]
        items[: len(top)] = top
        scores[: len(top)] = self.counts[top] / max(1, self.counts.sum())
        return Ranking(np.tile(items, (len(histories), 1)), np.tile(scores, (len(histories), 1)))
