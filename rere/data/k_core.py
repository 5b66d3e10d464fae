"""Iterated k-core, counted on the training period only."""

from __future__ import annotations

import numpy as np

from rere.data.blockwise import looked_up, selected, tally


def k_core(users: np.ndarray, items: np.ndarray, training: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which users and items stay: the largest set in which each that trains has k training interactions.

    Users and items without any training interaction are not judged, and stay.

    Args:
        users, items: (rows,) int codes 0…U-1 and 0…I-1.
        training: (rows,) bool.
        k: least training interactions.

    Returns:
        (U,) bool and (I,) bool.
    """
    keep_users = np.ones(users.max(initial=-1) + 1, dtype=bool)
    keep_items = np.ones(items.max(initial=-1) + 1, dtype=bool)
    users, items = selected(users, training), selected(items, training)
    judged_users = tally(users, len(keep_users)) > 0
    judged_items = tally(items, len(keep_items)) > 0
    while True:
        keep_users &= ~judged_users | (tally(users, len(keep_users)) >= k)
        keep_items &= ~judged_items | (tally(items, len(keep_items)) >= k)
        alive = looked_up(keep_users, users) & looked_up(keep_items, items)
        if alive.all():
            return keep_users, keep_items
        users, items = selected(users, alive), selected(items, alive)
