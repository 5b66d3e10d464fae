"""The order of each user's window rows, inferred from their histories where they have no times.

A row says: after this history came this target. Its successor's history is that history with that target at its end
(or the last items of it, where histories are cut). So rows are edges between histories, and a user's true order is a
trail that takes each edge once (Hierholzer, 1873); files may list a user's longest history first, or shuffle.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Items = tuple[str, ...]


class Rows(NamedTuple):
    """Window rows: codes of users, indices of periods, times; histories oldest first; targets."""

    users: np.ndarray
    periods: np.ndarray
    times: np.ndarray
    histories: Sequence[Sequence[str]]
    targets: Sequence[str]

    def through(self, row: int) -> Items:
        """A row's history and target."""
        return (*self.histories[row], self.targets[row])


def row_order(rows: Rows) -> np.ndarray:
    """(rows,) row numbers by user, period and time; rows equal in all three by their histories, then as given."""
    order = np.lexsort((np.arange(len(rows.users)), rows.times, rows.periods, rows.users))
    keys = np.column_stack([rows.users, rows.periods, rows.times])[order]
    edges = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1), True]) if len(order) else np.zeros(0, int)
    longest: Counter[int] = Counter()
    for period, history in zip(rows.periods.tolist(), rows.histories, strict=True):
        longest[period] = max(longest[period], len(history))
    for low, high in itertools.pairwise(edges.tolist()):
        if high - low > 1:
            same_user = low > 0 and keys[low - 1, 0] == keys[low, 0]
            before = rows.through(int(order[low - 1])) if same_user else ()
            order[low:high] = _by_history(order[low:high].tolist(), rows, longest[int(keys[low, 1])], before)
    return order


def continues(before: Items, history: Sequence[str]) -> bool:
    """Whether a history goes on from the items before it: as far as both reach back, they end alike."""
    shared = min(len(before), len(history))
    return before[len(before) - shared :] == tuple(history[len(history) - shared :])


def _by_history(group: list[int], rows: Rows, longest: int, before: Items) -> list[int]:
    """Rows of one user, period and time in the order of a trail; of several trails, that of shorter histories first."""
    start = {row: tuple(rows.histories[row][-longest:]) for row in group}
    end = {row: rows.through(row)[-longest:] for row in group}
    follow = all(end[row] == start[after] for row, after in itertools.pairwise(group))
    if follow and continues(before, start[group[0]]):
        return group
    leaving: dict[Items, list[int]] = defaultdict(list)
    for row in reversed(group):
        leaving[start[row]].append(row)  # the first given is taken first
    arriving = Counter(end.values())
    nodes = list(dict.fromkeys(start[row] for row in group))
    begins = sorted(
        nodes,
        key=lambda node: (len(leaving[node]) <= arriving[node], not (before and continues(before, node)), len(node)),
    )
    ordered: list[int] = []
    for begin in begins:
        while leaving[begin]:
            ordered += _trail(begin, leaving, end)
    return ordered


def _trail(begin: Items, leaving: dict[Items, list[int]], end: dict[int, Items]) -> list[int]:
    """Rows reached from a history, each taken out of `leaving`."""
    path: list[tuple[Items, int]] = [(begin, -1)]
    taken: list[int] = []
    while path:
        node, row = path[-1]
        if leaving.get(node):
            after = leaving[node].pop()
            path.append((end[after], after))
        else:
            path.pop()
            if row >= 0:
                taken.append(row)
    return taken[::-1]
