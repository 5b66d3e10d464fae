"""Which training rows RL sees, and how their histories are altered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.config.rl import AllRows, AlteredHistories, KeptUsersRows, RLRows
from rere.data.dataset import Windows
from rere.data.user_draws import is_kept


def chosen_windows(windows: Windows, rows: RLRows) -> Windows:
    """The windows with the chosen training rows only; validation and test as they are."""
    if isinstance(rows, AllRows):
        return windows
    table = windows.table
    if isinstance(rows, KeptUsersRows):
        kept = (table["period"] != "train").to_numpy() | is_kept(table["user_id"], rows.share)
        return Windows(table[kept], windows.history_items)
    times = table.loc[table["period"] == "train", "timestamp"].to_numpy()
    if not len(times):
        return windows
    count = max(1, round(rows.share * len(times)))
    oldest = np.partition(times, len(times) - count)[len(times) - count]
    return Windows(table[(table["period"] != "train") | (table["timestamp"] >= oldest)], windows.history_items)


def altered_history(history: Sequence[int], config: AlteredHistories, *, seed: Sequence[int]) -> list[int]:
    """A history with items left out and its begin cropped, by chance; at least one item stays.

    Args:
        history: item indices, oldest first.
        seed: of the draw: the same seed alters the same history in the same way.
    """
    random = np.random.default_rng(seed)
    if random.random() >= config.share:
        return list(history)
    kept = [item for item in history if random.random() >= config.leave_out] or [history[-1]]
    if random.random() < config.crop:
        kept = kept[-int(random.integers(1, len(kept) + 1)) :]
    return kept
