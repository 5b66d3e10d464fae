"""Windows that follow from one another: stretches of a user's history in which every item is a target."""

from __future__ import annotations

import numpy as np
import pandas as pd


def follows(rows: pd.DataFrame, history_items: int) -> np.ndarray:
    """(N,) bool: whether each window's history is the one before it and that one's target, of the same user.

    Args:
        rows: N windows; user_id, history (at most `history_items` items, oldest first), target.
    """
    found = np.zeros(len(rows), dtype=bool)
    previous_user: str | None = None
    expected: list[str] = []
    columns = zip(rows["user_id"], rows["history"], rows["target"], strict=True)
    for index, (user, history, target) in enumerate(columns):
        history = list(history)
        found[index] = index > 0 and user == previous_user and history == expected
        previous_user, expected = user, [*history, target][-history_items:]
    return found


def stretch_ends(rows: pd.DataFrame, history_items: int) -> np.ndarray:
    """(N,) int64: index after the last row of each row's stretch, so that `targets[row + 1 : end]` came after its own.

    Args:
        rows, history_items: see `follows`.
    """
    begins = np.append(np.flatnonzero(~follows(rows, history_items)), len(rows))
    return np.repeat(begins[1:], np.diff(begins))
