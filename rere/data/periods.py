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
    enough = ends[np.diff(ends, prepend=0) >= 3]
    period = np.zeros(len(users), dtype=np.int8)
    period[enough - 1], period[enough - 2] = TEST, VALID
    return period


def chronological(users: np.ndarray, times: np.ndarray, order: np.ndarray, rule: Chronological) -> np.ndarray:
    """The paper's 8:1:1: a window for each row after a user's first, all in order of time, cut into shares.

    The two cuts are moments (a time, and a position in the file among equal times). Every row, a user's first
    too, takes the period that its own moment falls in.
    """
    is_window = np.r_[False, users[1:] == users[:-1]][: len(users)]
    window_times = times[is_window]
    shares = (rule.train, rule.train + rule.valid)
    # The share of whole windows, whatever 0.8 + 0.1 is in binary.
    cuts = [first for share in shares if (first := int(share * len(window_times) + 1e-9)) < len(window_times)]
    window_times.partition(cuts)
    period = np.zeros(len(users), dtype=np.int8)
    for first in cuts:
        time = window_times[first]
        among_equals = first - int((window_times < time).sum())
        position = np.sort(order[is_window & (times == time)])[among_equals]
        period += times > time
        period += (times == time) & (order >= position)
    return period
