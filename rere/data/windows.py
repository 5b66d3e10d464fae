"""Prediction rows: each interaction after a user's first, with the items that came before it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from rere.config.data import SplitConfig
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
    targets = np.flatnonzero(~first)
    firsts = np.flatnonzero(first)
    starts = firsts[np.searchsorted(firsts, targets) - 1]
    begins = np.maximum(starts, targets - config.history_items)
    items = category(events["item_id"]).array
    item, names = coded(events["item_id"])
    trained = np.zeros(len(names) + 1, dtype=bool)
    trained[item[(events["period"] == "train").to_numpy()]] = True
    rows = events.iloc[targets].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "row_id": np.arange(len(targets), dtype=np.int64),
            "user_id": rows["user_id"],
            "history": Histories(cast("pd.Categorical[Any]", items), begins, targets - begins),
            "target": rows["item_id"],
            "timestamp": rows["timestamp"],
            "period": rows["period"],
            "warm": trained[item[targets]],
        }
    )
    return Windows(table, config.history_items)


def cut_histories(dataset: Dataset, windows: Windows) -> int:
    """How many windows that a source brought had their history cut."""
    if dataset.windows is None:
        return 0
    return int((dataset.windows["history"].map(len) > windows.history_items).sum())
