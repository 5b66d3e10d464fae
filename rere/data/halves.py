"""Two halves of the validation users: on one everything is chosen, on the other the choice is reported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rere.data.dataset import Windows


def selection_rows(user_ids: Sequence[str]) -> np.ndarray:
    """(R,) bool: rows of the users to choose on. All rows of a user are in one half; the same users are always chosen.

    Args:
        user_ids: the rows' users. Of an odd number of users the larger half chooses.
    """
    users = sorted(set(user_ids), key=lambda user: hashlib.sha256(str(user).encode()).digest())
    chosen = set(users[: (len(users) + 1) // 2])
    return np.array([user in chosen for user in user_ids], dtype=bool)


def selection_half(windows: Windows) -> pd.DataFrame:
    """The validation rows of the users to choose on."""
    rows = windows.of("valid")
    return rows[selection_rows(rows["user_id"].tolist())]
