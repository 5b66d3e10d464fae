"""Windows against a slow and obvious version, and the flags that catch what must not happen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from rere.config.data import SplitConfig
from rere.data.dataset import Dataset, Windows
from rere.data.flags import flag_interactions, flag_windows, moment
from rere.data.windows import make_windows
from tests.data.helpers import START, dataset_of, random_dataset


def slow_windows(dataset: Dataset, history_items: int) -> list[tuple[str, list[str], str, int, str, bool]]:
    rows = list(dataset.interactions.itertuples(index=False, name=None))
    trained = {item for _, item, _, period in rows if period == "train"}
    windows = []
    for position, (user, item, time, period) in enumerate(rows):
        before = [other_item for other_user, other_item, _, _ in rows[:position] if other_user == user]
        if before:
            windows.append((user, before[-history_items:], item, time, period, item in trained))
    return windows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("history_items", [1, 3, 10])
def test_windows_against_the_slow_way(seed: int, history_items: int) -> None:
    dataset = random_dataset(seed)
    windows = make_windows(dataset, SplitConfig(history_items=history_items))
    columns = ["user_id", "history", "target", "timestamp", "period", "warm"]
    assert list(windows.table[columns].itertuples(index=False, name=None)) == slow_windows(dataset, history_items)
    assert windows.table["row_id"].tolist() == list(range(len(windows.table)))
    flags = flag_windows(windows, dataset)
    assert flags.select_dtypes("bool").drop(columns="warm").all().all()


def small() -> tuple[Dataset, Windows]:
    rows = [
        ("u", item, START + n, period)
        for n, (item, period) in enumerate(zip("abcd", ["train"] * 2 + ["valid", "test"], strict=True))
    ]
    rows += [("v", item, START + n, "train") for n, item in enumerate("ab")]
    dataset = dataset_of(rows, dict.fromkeys("abcd", "T"))
    return dataset, make_windows(dataset, SplitConfig())


def altered(windows: Windows, row: int, **values: Any) -> Windows:
    table = windows.table.copy()
    for column, value in values.items():
        table.at[row, column] = value
    return dataclasses.replace(windows, table=table)


# Rows: 0 u: a -> b (train), 1 u: ab -> c (valid), 2 u: abc -> d (test), 3 v: a -> b (train)
@pytest.mark.parametrize(
    ("row", "values", "column"),
    [
        (3, {"history": ["b"]}, "history_precedes"),
        (3, {"history": ["d", "a"]}, "history_precedes"),  # reaches into user u's rows
        (2, {"history": ["a", "b", "d"]}, "history_precedes"),  # the target itself
        (1, {"period": "train"}, "target_happened"),
        (1, {"period": "train"}, "target_unseen"),
        (1, {"target": "zzz"}, "target_in_catalogue"),
        (1, {"history": ["zzz"]}, "history_in_catalogue"),
        (2, {"period": "train"}, "trains_on_training"),
        (1, {"warm": True}, "warm_is_right"),
    ],
)
def test_flags_name_the_row(row: int, values: dict[str, object], column: str) -> None:
    dataset, windows = small()
    if column == "target_unseen":  # the same target interaction in training and validation
        table = pd.concat([windows.table, altered(windows, row, **values).table.loc[[row]]], ignore_index=True)
        windows = dataclasses.replace(windows, table=table)
    else:
        windows = altered(windows, row, **values)
    flags = flag_windows(windows, dataset)
    assert flags.index[~flags[column]].tolist() == [row]


def test_a_history_from_before_the_first_row_is_flagged() -> None:
    dataset = dataset_of([("u", "a", START, "train"), ("u", "b", START + 1, "train")], dict.fromkeys("ab", "T"))
    windows = altered(make_windows(dataset, SplitConfig()), 0, history=["b", "a"])  # b is the last row of all
    assert not flag_windows(windows, dataset)["history_precedes"].any()


def test_interaction_flags() -> None:
    rows = [
        ("u", "a", 5, "train"),
        ("u", "b", 4, "test"),
        ("u", "c", 6, "valid"),
        ("v", "a", 9, "train"),
        ("u", "z", 7, "test"),
    ]
    flags = flag_interactions(dataset_of(rows, dict.fromkeys("abc", "T")))
    assert flags["in_time_order"].tolist() == [True, False, True, True, False]  # the last: user u again, after v
    assert flags["in_period_order"].tolist() == [True, True, False, True, True]
    assert flags["in_catalogue"].tolist() == [True, True, True, True, False]
    assert flags["after_earlier_periods"].tolist() == [True, False, False, True, False]  # training ends at 9


def test_moments() -> None:
    assert moment(START) == "2001-09-09 01:46:40"
    assert moment(10**15) == "1000000000000000"
