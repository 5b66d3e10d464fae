"""Codes, views and mapped files against plain lists, one row at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.config.data import SplitConfig
from rere.data import codes, flags
from rere.data import hashing as sums
from rere.data.codes import TextCodes, category, key_batches, repeated, shared_codes
from rere.data.dataset import Dataset, Windows
from rere.data.files import read_arrow, write_arrow
from rere.data.flags import flag_windows
from rere.data.histories import Histories
from rere.data.windows import make_windows
from tests.data.helpers import random_dataset
from tests.data.slow import slow_fingerprint, slow_window_flags

LISTS = [["a", "b"], ["b"], [], ["c", "a", "c"], ["b"]]


def as_categories(dataset: Dataset) -> Dataset:
    events = dataset.interactions
    text = {name: category(events[name]) for name in ("user_id", "item_id", "period")}
    return dataclasses.replace(dataset, interactions=events.assign(**text))


# ---------------------------------------------------------------- codes


def test_parts_make_one_category_column() -> None:
    parts = [pd.Series(["b", "a"], dtype="str"), pd.Series([], dtype="str"), pd.Series(["c", "a"], dtype="str")]
    text = TextCodes()
    for part in parts:
        text.add(part)
    whole = text.column()
    assert whole.tolist() == ["b", "a", "c", "a"]
    assert whole.cat.categories.tolist() == ["b", "a", "c"]
    assert len(TextCodes().column()) == 0


def test_shared_codes_are_equal_where_values_are() -> None:
    columns = [
        pd.Series(["x", "y", None], dtype="str"),
        category(pd.Series(["z", "y"], dtype="str")),
        pd.Series(["w", "x"], dtype=object),
    ]
    found, names = shared_codes(*columns)
    values = [[None if code < 0 else names[code] for code in column.tolist()] for column in found]
    assert values == [["x", "y", None], ["z", "y"], ["w", "x"]]


@pytest.mark.parametrize("seed", range(5))
def test_batches_split_no_key(seed: int) -> None:
    random = np.random.default_rng(seed)
    left, right = random.integers(-1, 9, 40), random.integers(-1, 12, 25)
    batches = list(key_batches(left, right, rows=10))
    assert len(batches) > 2
    seen: set[int] = set()
    for rows, other in batches:
        keys = {*left[rows].tolist(), *right[other].tolist()}
        assert not keys & seen
        seen |= keys
        for column, places in ((left, rows), (right, other)):
            assert all(np.diff(places[column[places] == key]).min(initial=1) > 0 for key in keys)
    for place, column in enumerate((left, right)):
        assert sorted(np.concatenate([batch[place] for batch in batches]).tolist()) == list(range(len(column)))


def test_repetitions_against_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "BATCH_ROWS", 7)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"u": random.integers(0, 9, 200), "i": random.integers(0, 4, 200)}).astype("str")
    frame["t"] = random.integers(0, 3, 200)
    expected = frame.duplicated(keep=False).tolist()
    assert 0 < sum(expected) < len(expected)
    assert repeated(frame, ["u", "i", "t"]).tolist() == expected
    coded = frame.assign(u=category(frame["u"]), i=category(frame["i"]))
    assert repeated(coded, ["u", "i", "t"]).tolist() == expected


# ---------------------------------------------------------------- histories


def test_histories_are_lists_to_pandas() -> None:
    column = pd.Series(Histories.of(pd.Series(LISTS, dtype=object)))
    assert column.tolist() == list(column) == [column.iloc[n] for n in range(5)] == LISTS
    assert column.map(len).tolist() == [2, 1, 0, 3, 1]
    assert column[np.array([True, False, False, True, False])].tolist() == [LISTS[0], LISTS[3]]
    assert column.iloc[::-1].tolist() == LISTS[::-1]
    assert column.reindex([4, 9]).isna().tolist() == [False, True]
    assert column.array.last(2)[3] == ["a", "c"]
    assert column.head(2).to_csv(index=False).split() == ["0", "\"['a',", "'b']\"", "['b']"]
    assert pd.concat([column, pd.Series(Histories.of(pd.Series([["d"]])))]).tolist() == [*LISTS, ["d"]]
    assert (column == column.copy()).all()


def test_a_changed_history_changes_alone() -> None:
    column = pd.Series(Histories.of(pd.Series(LISTS, dtype=object)))
    other = column.copy()
    other.at[1] = ["z", "b"]  # type: ignore[assignment]
    assert other.tolist() == [["a", "b"], ["z", "b"], [], ["c", "a", "c"], ["b"]]
    assert column.tolist() == LISTS


def test_windows_share_one_column_of_items() -> None:
    windows = make_windows(as_categories(random_dataset(0)), SplitConfig(history_items=3))
    training = windows.of("train")
    assert training["history"].array.items is windows.table["history"].array.items
    assert len(training["history"].array.items) == len(random_dataset(0).interactions)


def test_files_are_mapped_and_come_back(tmp_path: Path) -> None:
    windows = make_windows(as_categories(random_dataset(1)), SplitConfig(history_items=3))
    write_arrow(windows.table, tmp_path / "w.arrow")
    back = read_arrow(tmp_path / "w.arrow")
    pd.testing.assert_frame_equal(back, windows.table)
    assert not back["timestamp"].to_numpy().flags.owndata  # the file's own pages
    part = windows.table[windows.table["period"] == "test"].reset_index(drop=True)
    write_arrow(part, tmp_path / "p.arrow")
    assert read_arrow(tmp_path / "p.arrow")["history"].tolist() == part["history"].tolist()


# ---------------------------------------------------------------- whole tables


@pytest.mark.parametrize("seed", range(3))
def test_fingerprints_follow_content_not_representation(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_windows(random_dataset(seed), SplitConfig())
    expected = slow_fingerprint(plain)
    monkeypatch.setattr(sums, "BATCH_ROWS", 17)
    lists = dataclasses.replace(plain, table=plain.table.assign(history=pd.Series(list(plain.table["history"]))))
    coded = make_windows(as_categories(random_dataset(seed)), SplitConfig())
    assert [w.fingerprint for w in (plain, lists, coded)] == [expected] * 3
    assert plain.fingerprint != make_windows(random_dataset(seed), SplitConfig(history_items=2)).fingerprint


@pytest.mark.parametrize("count", [0, 1, 2, 10, 11, 101, 12_345])
@pytest.mark.parametrize("batch", [1, 17, 500_000])
def test_numbers_in_order_of_text(count: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "BATCH_ROWS", batch)
    parts = list(sums.in_order_of_text(count))
    assert [number for part in parts for number in part.tolist()] == sorted(range(count), key=str)
    assert max(map(len, parts), default=0) <= batch


def spoiled(windows: Windows, seed: int) -> Windows:
    """A third of the rows changed: other targets, histories, users, periods, times; some repeated."""
    random, table = np.random.default_rng(seed), windows.table.copy()
    table["history"] = pd.Series(table["history"].tolist(), dtype=object)
    for row in random.choice(len(table), len(table) // 3, replace=False).tolist():
        column, value = [
            ("target", f"i{random.integers(20)}"),
            ("history", [f"i{n}" for n in random.integers(0, 30, random.integers(1, 5))]),
            ("user_id", f"u{random.integers(40)}"),
            ("period", "train"),
            ("timestamp", int(table["timestamp"].iloc[random.integers(len(table))])),
            ("warm", False),
        ][random.integers(6)]
        table.at[row, column] = value  # type: ignore[assignment]
    leaks = windows.table.index[windows.table["period"] == "test"][:1]  # as it was, but for training
    table.loc[leaks] = windows.table.loc[leaks].assign(period="train")
    again = table.iloc[random.choice(np.flatnonzero(table["period"] == "train"), 10)].copy()
    again["period"] = ["train", "test"] * 5
    return Windows(pd.concat([table, again], ignore_index=True), windows.history_items)


@pytest.mark.parametrize("seed", range(8))
def test_window_flags_against_the_slow_way(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "BATCH_ROWS", 13)
    monkeypatch.setattr(codes, "BATCH_ROWS", 31)
    dataset = random_dataset(seed)
    windows = spoiled(make_windows(dataset, SplitConfig(history_items=3)), seed)
    expected = slow_window_flags(windows, dataset)
    assert not expected.select_dtypes("bool").all().any()  # every check has something to find
    for data in (dataset, as_categories(dataset)):
        found = flag_windows(windows, data)[expected.columns.tolist()]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
