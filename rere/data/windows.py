"""Prediction rows: each interaction after a user's first, with the items that came before it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rere.config import SplitConfig
from rere.data.dataset import Dataset, Windows


def make_windows(dataset: Dataset, config: SplitConfig) -> Windows:
    """One row an interaction that has a history.

    A history is the user's last `history_items` kept interactions before the target, whatever their period: at
    the time of a test row, the validation row has happened. A user's periods come in order, so a training
    history holds training interactions only. Windows that a source brought keep their rows and targets; a
    longer history is cut to its most recent items.
    """
    if dataset.windows is not None:
        histories = [list(history)[-config.history_items :] for history in dataset.windows["history"]]
        return Windows(dataset.windows.assign(history=_column(histories)), config.history_items)

    events = dataset.interactions
    users = pd.factorize(events["user_id"])[0]
    place = np.arange(len(events))
    first = np.r_[True, users[1:] != users[:-1]][: len(events)]
    starts = np.maximum.accumulate(np.where(first, place, 0))
    targets = place[~first]
    ids = events["item_id"].tolist()
    begins = np.maximum(starts[targets], targets - config.history_items).tolist()
    trained = events.loc[events["period"] == "train", "item_id"].unique()
    rows = events.iloc[targets].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "row_id": np.arange(len(targets), dtype=np.int64),
            "user_id": rows["user_id"],
            "history": _column([ids[begin:end] for begin, end in zip(begins, targets.tolist(), strict=True)]),
            "target": rows["item_id"],
            "timestamp": rows["timestamp"],
            "period": rows["period"],
            "warm": rows["item_id"].isin(trained),
        }
    )
    return Windows(table, config.history_items)


def cut_histories(dataset: Dataset, windows: Windows) -> int:
    """How many windows that a source brought had their history cut."""
    if dataset.windows is None:
        return 0
    return int((dataset.windows["history"].map(len) > windows.history_items).sum())


def _column(histories: list[list[str]]) -> pd.Series:
    return pd.Series(histories, dtype=object)
