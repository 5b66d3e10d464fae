"""Lists without the history's items, and with some items boosted: by hand, and where too few items are left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.boosted import BoostedItemModel
from experiments.without_history import WithoutHistory
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData


class Descending(CoOccurrence):
    """Ranks six items from the last to the first, with their numbers as scores."""

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        return np.tile(np.arange(6, dtype=np.float32), (len(histories), 1))


DESCENDING = Descending.fit(FitData([np.array([0])], 6, [[0]], [1]), CoOccurrenceConfig())


def test_what_the_history_holds_is_taken_out_and_the_others_move_up() -> None:
    found = WithoutHistory(DESCENDING).recommend([[5, 3], [0], [1, 1]], 3)
    assert found.items.tolist() == [[4, 2, 1], [5, 4, 3], [5, 4, 3]]
    assert found.scores.tolist() == found.items.tolist()


def test_a_list_ends_where_no_item_is_left() -> None:
    found = WithoutHistory(DESCENDING).recommend([[5, 4, 3, 2]], 4)
    assert found.items.tolist() == [[1, 0, -1, -1]]
    assert found.scores.tolist() == [[1.0, 0.0, -np.inf, -np.inf]]


def test_boosted_items_move_up_by_the_factor_and_the_others_keep_their_order() -> None:
    new = np.array([True, False, False, True, False, False])  # scores are the items' numbers
    found = BoostedItemModel(DESCENDING, new, float(np.exp(1.5))).recommend([[1]], 6)
    assert found.items.tolist() == [[5, 3, 4, 2, 0, 1]]
