"""Facts about single rows that need more than one row or table to know, one boolean column each.

The validator then only has to look for a False, and can name the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from rere.data.codes import coded, key_batches, shared_codes
from rere.data.dataset import PERIODS, Dataset, Windows
from rere.data.hashing import row_sums
from rere.data.histories import Histories
from rere.data.titles import is_plain

KEY = ["user", "item", "timestamp"]
BATCH_ROWS = 200_000  # windows whose histories are looked at together


def flag_interactions(dataset: Dataset) -> pd.DataFrame:
    """The interactions with `row` and

    in_catalogue: the item is in the catalogue
    in_time_order: the user's rows are adjacent, and none is earlier than the one before it
    in_period_order: no row of an earlier period follows a later one of the same user
    after_earlier_periods: not earlier than any row, of anyone, in an earlier period
    plain_user: the user's id has nothing hidden in it
    """
    events = dataset.interactions
    users, names = coded(events["user_id"])
    same = np.r_[False, users[1:] == users[:-1]][: len(users)]
    returns = ~same & pd.Series(users).duplicated().to_numpy()
    times = pd.to_numeric(events["timestamp"], errors="coerce").fillna(0).to_numpy()
    ranks = _ranks(events["period"])
    ends = [float(times[ranks == rank].max()) if (ranks == rank).any() else -np.inf for rank in range(len(PERIODS))]
    last = np.r_[-np.inf, np.maximum.accumulate(ends)[:-1]]
    return events.assign(
        row=np.arange(len(events)),
        in_catalogue=events["item_id"].isin(dataset.items["item_id"]),
        in_time_order=~returns & ~(same & (np.diff(times, prepend=0) < 0)),
        in_period_order=~(same & (np.diff(ranks, prepend=0) < 0)),
        after_earlier_periods=times >= last[ranks],
        plain_user=np.r_[_plain(names), True][users],
    )


def flag_items(dataset: Dataset) -> pd.DataFrame:
    """The catalogue with `row`, has_title: the title isn't blank, and plain_item: the id has nothing hidden in it."""
    items = dataset.items
    titles = items["title"].fillna("").astype("str")
    plain = _plain(items["item_id"].fillna("").astype("str"))
    return items.assign(row=np.arange(len(items)), has_title=titles.str.strip() != "", plain_item=plain)


def flag_windows(windows: Windows, dataset: Dataset) -> pd.DataFrame:
    """The windows without their histories, with `row`, history_length and

    target_in_catalogue, history_in_catalogue: their ids are in the catalogue
    target_happened: an interaction of that user, item, time and period exists
    history_precedes: the history is exactly the user's interactions just before the target
    trains_on_training: not a training row, or such a history holds training interactions only
    target_unseen: a training row, or no training row has the same user, target, time and history
    told_once: no other row has them
    warm_is_right: `warm` says whether the target occurs in the training period
    """
    table, events = windows.table, dataset.interactions
    histories = Histories.of(table["history"])
    (user, event_user), _ = shared_codes(table["user_id"], events["user_id"])
    held = pd.Series(histories.items)
    items, names = shared_codes(table["target"], events["item_id"], held, dataset.items["item_id"])
    target, event_item, history_item, catalogue = items
    (period, event_period), periods = shared_codes(table["period"], events["period"])
    training, train = (table["period"] == "train").to_numpy(), periods.get_indexer(pd.Index(["train"]))[0]

    left = {"user": user, "item": target, "timestamp": table["timestamp"].to_numpy()}
    right = {"user": event_user, "item": event_item, "timestamp": events["timestamp"].to_numpy()}
    positions = _positions(left, right)
    seen, twice = _told_again(left, histories, training)
    in_catalogue, in_training = _members(catalogue, names), _members(event_item[event_period == train], names)
    unknown, wrong, later = (np.zeros(len(table), dtype=bool) for _ in range(3))
    for low in range(0, len(table), BATCH_ROWS):
        rows = slice(low, low + BATCH_ROWS)
        lengths, of_row = histories.lengths[rows].astype(np.int64), positions[rows]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        item = history_item[histories.starts[rows][owner] + offset]
        position = np.maximum((of_row - lengths)[owner] + offset, -1)
        strange = (position < 0) | (event_item[position] != item) | (event_user[position] != user[rows][owner])
        unknown[rows] = _any_of(~in_catalogue[item], owner, len(lengths))
        wrong[rows] = _any_of(strange, owner, len(lengths))
        later[rows] = _any_of(event_period[position] != train, owner, len(lengths))
    return table.drop(columns="history").assign(
        row=np.arange(len(table)),
        history_length=histories.lengths,
        target_in_catalogue=in_catalogue[target],
        history_in_catalogue=~unknown,
        target_happened=(positions >= 0) & (period == event_period[positions]),
        history_precedes=(positions >= 0) & ~wrong,
        trains_on_training=~training | wrong | ~later,
        target_unseen=training | ~seen,
        told_once=~twice,
        warm_is_right=table["warm"].to_numpy() == in_training[target],
    )


def moment(seconds: int) -> str:
    """A time as people read it; the bare number where it is beyond any calendar."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _positions(keys: dict[str, np.ndarray], events: dict[str, np.ndarray]) -> np.ndarray:
    """(rows,) int64 position of each key among the events, -1 where there is none; the nth of equal keys is the nth."""
    positions = np.full(len(keys["user"]), -1, dtype=np.int64)
    for rows, event_rows in key_batches(keys["user"], events["user"]):
        left = pd.DataFrame({name: column[rows] for name, column in keys.items()})
        right = pd.DataFrame({name: column[event_rows] for name, column in events.items()})
        left["nth"] = left.groupby(KEY, sort=False, dropna=False).cumcount()
        right = right.assign(nth=right.groupby(KEY, sort=False).cumcount(), position=event_rows)
        found = left.merge(right, how="left", on=[*KEY, "nth"])["position"]
        positions[rows] = found.fillna(-1).to_numpy(dtype=np.int64)
    return positions


def _told_again(
    keys: dict[str, np.ndarray], histories: Histories, training: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether a training row has the same key and history, and whether any other row has.

    A user can take one item twice at one time; then the second row's history holds the first one's target.
    """
    seen, twice = (np.zeros(len(training), dtype=bool) for _ in range(2))
    for (rows,) in key_batches(keys["user"]):
        table = pd.DataFrame({name: column[rows] for name, column in keys.items()})
        alike = np.flatnonzero(table.duplicated(keep=False).to_numpy())
        if not len(alike):
            continue
        positions = rows[alike]
        table = table.iloc[alike].assign(history=row_sums(pd.DataFrame({"history": histories[positions]})))
        group = table.groupby([*KEY, "history"], sort=False, dropna=False).ngroup().to_numpy()
        seen[positions] = _members(group[training[positions]], group)[group]
        twice[positions] = np.bincount(group)[group] > 1
    return seen, twice


def _plain(ids: Iterable[str]) -> np.ndarray:
    """(ids,) bool"""
    return np.array([is_plain(name) for name in ids], dtype=bool)


def _members(codes: np.ndarray, names: pd.Index | np.ndarray) -> np.ndarray:
    """(names + 1,) bool by code: whether it occurs; the last, which -1 leads to, says no."""
    found = np.zeros(len(names) + 1, dtype=bool)
    found[codes[codes >= 0]] = True
    return found


def _ranks(periods: pd.Series) -> np.ndarray:
    """Indices in `PERIODS`; unknown names, which another check refuses, count as the first."""
    codes, names = coded(periods)
    ranks = np.array([*(PERIODS.index(name) if name in PERIODS else 0 for name in names), 0], dtype=np.int8)
    return ranks[codes]


def _any_of(flags: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    found = np.zeros(owners, dtype=bool)
    found[owner[flags]] = True
    return found
