"""What is new in a source, against a slow way that looks at one row at a time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rere.config.ingest import IngestConfig
from rere.data.collected import GONE, LATE, Collected, collect
from rere.data.dataset import FORGOTTEN
from rere.data.ingest import ingest_raw
from rere.data.raw import RawData, interactions_frame, items_frame
from rere.errors import RereError

Row = tuple[str, str, int]
ROWS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=12, unique=True
)


def raw(rows: list[Row], titles: dict[str, str] | None = None) -> RawData:
    named = titles or {item: f"Title {item}" for item in "abc"}
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    items, _ = items_frame(pd.Series(list(named)), pd.Series(list(named.values())))
    return RawData(
        "test",
        interactions_frame(frame["user"], frame["item"], frame["time"].to_numpy() * 1_000_000),
        items,
        {"file": "0"},
    )


def rows_of(collected: Collected) -> list[Row]:
    return [(str(user), str(item), int(time)) for user, item, time in collected.interactions.itertuples(index=False)]


@settings(max_examples=80, deadline=None)
@given(old=ROWS, now=ROWS)
def test_the_base_stays_and_what_is_not_older_is_added(old: list[Row], now: list[Row]) -> None:
    base = collect(raw(old))
    after = collect(raw(now), base)
    newest = max(time for _, _, time in old)
    new = [row for row in now if row[2] >= newest and row not in old]
    assert rows_of(after) == old + new
    assert (after.report.base, after.report.new) == (len(old), len(new))
    assert after.report.newest == max(time for _, _, time in old + new)
    assert after.report.dropped[LATE] == sum(row[2] < newest and row not in old for row in now)
    assert after.report.noticed[GONE] == sum(row not in now for row in old)


@settings(max_examples=80, deadline=None)
@given(old=ROWS, now=ROWS)
def test_what_the_source_deleted_is_forgotten_on_request(old: list[Row], now: list[Row]) -> None:
    after = collect(raw(now), collect(raw(old)), "forget")
    newest = max(time for _, _, time in old)
    kept, new = [row for row in old if row in now], [row for row in now if row[2] >= newest and row not in old]
    assert rows_of(after) == kept + new
    assert (after.report.base, after.report.new) == (len(kept), len(new))
    assert after.report.dropped[FORGOTTEN] == len(old) - len(kept)
    assert GONE not in after.report.noticed


def test_titles_are_those_of_today_and_items_keep_their_place() -> None:
    base = collect(raw([("u", "b", 1)], {"b": "Old", "gone": "Kept"}))
    after = collect(raw([("u", "b", 2)], {"new": "New", "b": "Renamed"}), base)
    assert after.items.to_dict("list") == {"item_id": ["b", "gone", "new"], "title": ["Renamed", "Kept", "New"]}
    assert after.report.noticed["titles that changed since the base"] == 1


def test_an_id_with_two_titles_stays_for_validation_to_refuse() -> None:
    twice = raw([("u", "a", 2)])
    items = pd.DataFrame({"item_id": ["a", "a"], "title": ["One", "Two"]})
    source = RawData(twice.name, twice.interactions, items, twice.sha256)
    assert collect(source, collect(raw([("u", "a", 1)]))).items["item_id"].tolist().count("a") == 2


def test_it_is_kept_in_plain_files_and_ingested(tmp_path: Path) -> None:
    rows = [(user, item, time) for user in "uvw" for time, item in enumerate("abcab", 1)]
    collect(raw(rows)).save(tmp_path)
    kept = Collected.load(tmp_path)
    assert rows_of(kept) == rows
    again = collect(raw([*rows, ("u", "c", 9)]), kept)  # from a memory map, which is read-only
    dataset = ingest_raw(again.raw(), IngestConfig(k_core=1))
    assert len(dataset.interactions) == len(rows) + 1
    assert dataset.report.noticed["interactions new since the base"] == 1
    (tmp_path / "items.parquet").write_bytes(b"other")
    with pytest.raises(RereError, match="altered"):
        Collected.load(tmp_path)


@pytest.mark.parametrize("times", [[], [0]])
def test_rows_without_times_cannot_be_told_apart(times: list[int]) -> None:
    with pytest.raises(RereError, match="no times"):
        collect(raw([("u", "a", time) for time in times]))
