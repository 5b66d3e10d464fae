"""Facts about single rows that need more than one row or table to know, one boolean column each.

The validator then only has to look for a False, and can name the rows.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from rere.data.dataset import PERIODS, Dataset, Windows

KEY = ["user_id", "item_id", "timestamp"]


def flag_interactions(dataset: Dataset) -> pd.DataFrame:
    """The interactions with `row` and

    in_catalogue: the item is in the catalogue
    in_time_order: the user's rows are adjacent, and none is earlier than the one before it
    in_period_order: no row of an earlier period follows a later one of the same user
    after_earlier_periods: not earlier than any row, of anyone, in an earlier period
    """
    events = dataset.interactions
    users = pd.factorize(events["user_id"], use_na_sentinel=False)[0]
    same = np.r_[False, users[1:] == users[:-1]][: len(users)]
    returns = ~same & pd.Series(users).duplicated().to_numpy()
    times = pd.to_numeric(events["timestamp"], errors="coerce").fillna(0).to_numpy()
    ranks = _ranks(events["period"])
    last = pd.Series(times).groupby(ranks).max().reindex(range(len(PERIODS))).cummax().shift().fillna(-np.inf)
    return events.assign(
        row=np.arange(len(events)),
        in_catalogue=events["item_id"].isin(dataset.items["item_id"]),
        in_time_order=~returns & ~(same & (np.diff(times, prepend=0) < 0)),
        in_period_order=~(same & (np.diff(ranks, prepend=0) < 0)),
        after_earlier_periods=times >= last.to_numpy()[ranks],
    )


def flag_items(dataset: Dataset) -> pd.DataFrame:
    """The catalogue with `row` and has_title: the title isn't blank."""
    titles = dataset.items["title"].fillna("").astype("str")
    return dataset.items.assign(row=np.arange(len(dataset.items)), has_title=titles.str.strip() != "")


def flag_windows(windows: Windows, dataset: Dataset) -> pd.DataFrame:
    """The windows without their histories, with `row`, history_length and

    target_in_catalogue, history_in_catalogue: their ids are in the catalogue
    target_happened: an interaction of that user, item, time and period exists
    history_precedes: the history is exactly the user's interactions just before the target
    trains_on_training: not a training row, or its history holds training interactions only
    target_unseen: a training row, or no training row has the same user, target and time
    warm_is_right: `warm` says whether the target occurs in the training period
    """
    table, events = windows.table, dataset.interactions
    keys = table[["user_id", "target", "timestamp"]].set_axis(KEY, axis=1)
    places = _places(keys, events)
    happened = (places >= 0) & (table["period"].to_numpy() == events["period"].to_numpy()[places])
    lengths = table["history"].map(len).to_numpy()
    owner = np.repeat(np.arange(len(table)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    position = np.maximum(places[owner] - lengths[owner] + offset, -1)
    items = pd.Series([item for history in table["history"] for item in history], dtype="str")
    expected = events.iloc[position]
    wrong = (
        (position < 0)
        | (expected["item_id"].to_numpy() != items.to_numpy())
        | (expected["user_id"].to_numpy() != table["user_id"].to_numpy()[owner])
    )
    later = (expected["period"] != "train").to_numpy()
    training = (table["period"] == "train").to_numpy()
    trained_keys = pd.MultiIndex.from_frame(keys[training])
    trained_items = events.loc[events["period"] == "train", "item_id"].unique()
    catalogue = dataset.items["item_id"]
    unknown = ~items.isin(catalogue).to_numpy()
    return table.drop(columns="history").assign(
        row=np.arange(len(table)),
        history_length=lengths,
        target_in_catalogue=table["target"].isin(catalogue),
        history_in_catalogue=_none_of(unknown, owner, len(table)),
        target_happened=happened,
        history_precedes=(places >= 0) & _none_of(wrong, owner, len(table)),
        trains_on_training=~training | _none_of(later, owner, len(table)),
        target_unseen=training | ~pd.MultiIndex.from_frame(keys).isin(trained_keys),
        warm_is_right=table["warm"] == table["target"].isin(trained_items),
    )


def moment(seconds: int) -> str:
    """A time as people read it; the bare number where it is beyond any calendar."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _places(keys: pd.DataFrame, events: pd.DataFrame) -> np.ndarray:
    """(rows,) int64 row number in `events` of each key, -1 where there is none; the nth of equal keys is the nth."""
    left = keys.assign(nth=keys.groupby(KEY, sort=False).cumcount())
    right = events[KEY].assign(nth=events.groupby(KEY, sort=False).cumcount(), place=np.arange(len(events)))
    return left.merge(right, how="left", on=[*KEY, "nth"])["place"].fillna(-1).to_numpy(dtype=np.int64)


def _ranks(periods: pd.Series) -> np.ndarray:
    """Places in `PERIODS`; unknown names, which another check refuses, count as the first."""
    return periods.map({period: n for n, period in enumerate(PERIODS)}).fillna(0).to_numpy(dtype=np.int64)


def _none_of(flags: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    return np.bincount(owner, weights=flags, minlength=owners) == 0
