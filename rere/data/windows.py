"""Prediction rows: each interaction after a user's first, with the items that came before it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from rere.config.data import SplitConfig
from rere.data.blockwise import in_blocks, kept_rows, looked_up, selected, tally
from rere.data.codes import category, coded
from rere.data.dataset import Dataset, Windows
from rere.data.histories import Histories


def make_windows(dataset: Dataset, config: SplitConfig) -> Windows:
    """One row an interaction that has a history.

    A history is the user's last `history_items` kept interactions before the target, whatever their period: at
    the time of a test row, the validation row has happened. A user's periods come in order, so a training
    history holds training interactions only. Windows that a source brought keep their rows and targets; a
    longer history is cut to its most recent items. Histories are views of the interactions' items.
    """
    if dataset.windows is not None:
        histories = Histories.of(dataset.windows["history"]).last(config.history_items)
        return Windows(dataset.windows.assign(history=histories), config.history_items)

    events = dataset.interactions
    users, _ = coded(events["user_id"])
    first = np.r_[True, users[1:] != users[:-1]][: len(events)]
    firsts = np.flatnonzero(first)
    targets = in_blocks(len(first), np.int64, lambda block: block.start + np.flatnonzero(~first[block]))

    def lengths_of(block: slice) -> np.ndarray:
        starts = firsts[np.searchsorted(firsts, targets[block]) - 1]
        return np.minimum(targets[block] - starts, config.history_items)

    lengths = in_blocks(len(targets), np.int32, lengths_of)
    begins = in_blocks(len(targets), np.int64, lambda block: targets[block] - lengths[block])
    items = category(events["item_id"])
    item, names = coded(items)
    trained = tally(selected(item, (events["period"] == "train").to_numpy()), len(names)) > 0
    rows = kept_rows(events, ~first)
    table = pd.DataFrame(
        {
            "row_id": in_blocks(len(targets), np.int64, lambda block: np.arange(block.start, block.stop)),
            "user_id": rows["user_id"],
            "history": Histories(cast("pd.Categorical[Any]", items.array), begins, lengths),
            "target": rows["item_id"],
            "timestamp": rows["timestamp"],
            "period": rows["period"],
            "warm": looked_up(trained, selected(item, ~first)),
        },
        copy=False,
    )
    return Windows(table, config.history_items)


def cut_histories(dataset: Dataset, windows: Windows) -> int:
    """How many windows that a source brought had their history cut."""
    if dataset.windows is None:
        return 0
    return int((dataset.windows["history"].map(len) > windows.history_items).sum())
