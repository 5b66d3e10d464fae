"""Users drawn by their ids alone: whoever asks gets the same ones, in every stage, run and process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

BYTES = 6  # of a digest: as much as a float64 holds exactly


def is_kept(users: Iterable[object], share: float) -> np.ndarray:
    """(N,) bool: whether fine-tuning leaves each row's user to RL (`sft.kept_users`): about `share` of all users."""
    return _draws(users, "kept from fine-tuning") < share


def fold_of(users: Iterable[object], folds: int) -> np.ndarray:
    """(N,) int64: each row's fold, from 0 to `folds` - 1. All rows of a user are in one."""
    return (_draws(users, "fold") * folds).astype(np.int64)


def _draws(users: Iterable[object], purpose: str) -> np.ndarray:
    """(N,) float64 in [0, 1): one draw for each user and purpose."""
    codes, ids = pd.factorize(np.asarray([str(user) for user in users], dtype=object))
    digests = (hashlib.sha256(f"{purpose} {user}".encode()).digest() for user in ids)
    draws = np.array([int.from_bytes(digest[:BYTES], "big") for digest in digests], dtype=np.float64)
    found: np.ndarray = (draws / 2 ** (8 * BYTES))[codes]
    return found
