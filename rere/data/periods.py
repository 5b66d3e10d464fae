"""Which interaction belongs to training, validation or test. Decided before any filter, kept after it."""

from __future__ import annotations

import numpy as np

from rere.config.data import Chronological, LeaveOneOut, SplitRule

TRAIN, VALID, TEST = 0, 1, 2  # indices in `PERIODS`


def assign_periods(users: np.ndarray, times: np.ndarray, order: np.ndarray, rule: SplitRule) -> np.ndarray:
    """(rows,) int8 indices in `PERIODS`.

    Args:
        users: (rows,) int codes 0…U-1; a user's rows are adjacent, in order of time.
        times: (rows,) int64 seconds.
        order: (rows,) int, position in the source's file: decides between equal times.
    """
    if isinstance(rule, LeaveOneOut):
        return leave_one_out(users)
    return chronological(users, times, order, rule)


def leave_one_out(users: np.ndarray) -> np.ndarray:
    """A user's last row is test, the one before it validation; users of fewer than three rows are all training."""
    ends = np.r_[np.flatnonzero(users[1:] != users[:-1]) + 1, len(users)]
    sizes = np.diff(np.r_[0, ends])
    from_end = np.repeat(ends, sizes) - 1 - np.arange(len(users))
    enough = np.repeat(sizes, sizes) >= 3
    return np.where(enough & (from_end == 0), TEST, np.where(enough & (from_end == 1), VALID, TRAIN)).astype(np.int8)


def chronological(users: np.ndarray, times: np.ndarray, order: np.ndarray, rule: Chronological) -> np.ndarray:
    """The paper's 8:1:1: a window for each row after a user's first, all in order of time, cut into shares.

    The two cuts are moments (a time, and a position in the file among equal times). Every row, a user's first
    too, takes the period that its own moment falls in.
    """
    ranked = np.lexsort((order, times))
    rank = np.empty(len(users), dtype=np.int64)
    rank[ranked] = np.arange(len(users))
    windows = np.sort(rank[1:][users[1:] == users[:-1]])
    period = np.zeros(len(users), dtype=np.int8)
    for share in (rule.train, rule.train + rule.valid):
        first = int(share * len(windows) + 1e-9)  # the share of whole windows, whatever 0.8 + 0.1 is in binary
        if first < len(windows):
            period += rank >= windows[first]
    return period
