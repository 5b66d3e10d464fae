"""A user's rows in their true order, however they are given and wherever their histories are cut."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rere.data.row_order import Rows, continues, row_order


@settings(max_examples=300, deadline=None)
@given(items=st.text("abc", min_size=2, max_size=14), most=st.integers(1, 14), random=st.randoms())
def test_any_order_is_mended(items: str, most: int, random: Random) -> None:
    rows = [(items[max(n - most, 0) : n], items[n]) for n in range(1, len(items))]
    random.shuffle(rows)
    zeros = np.zeros(len(rows), dtype=np.int64)
    given_rows = Rows(zeros, zeros, zeros, [tuple(history) for history, _ in rows], [target for _, target in rows])
    order = row_order(given_rows).tolist()
    assert sorted(order) == list(range(len(rows)))
    for before, after in itertools.pairwise(order):
        assert continues(given_rows.through(before), given_rows.histories[after])
    rebuilt = "".join([*given_rows.histories[order[0]], *(given_rows.targets[row] for row in order)])
    if most >= len(items):
        assert rebuilt == items
    if most > 1:  # of one item, a circle of rows has no beginning
        assert sorted(rebuilt) == sorted(items)  # cut histories can leave several orders; none invents anything


def test_periods_and_times_come_first() -> None:
    histories = [("a",), ("a", "b"), ("x",), ("a", "b", "c"), ()]
    rows = Rows(
        users=np.array([0, 0, 1, 0, 0]),
        periods=np.array([0, 0, 0, 1, 0]),
        times=np.array([5, 3, 1, 1, 5]),
        histories=histories,
        targets=["b", "c", "y", "d", "a"],
    )
    assert row_order(rows).tolist() == [1, 4, 0, 3, 2]  # by time; the two of one time by their histories
