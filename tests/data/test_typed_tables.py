"""Parquet and JSON lines: values arrive as they are in the file, all of them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from rere.config.data import TableFormat
from rere.data import blocks
from rere.data.raw import RawData
from rere.data.sources.base import load_source
from rere.data.sources.tables import Tables
from rere.errors import RereError
from tests.data.helpers import START

ITEMS = [{"item_id": "i", "title": "T"}]


def load(folder: Path, ids: pa.Array) -> RawData:
    """The ids as user and item ids of one Parquet file that is both tables."""
    rows = range(len(ids))
    table = {"user_id": ids, "item_id": ids, "timestamp": [START + n for n in rows], "title": [f"T{n}" for n in rows]}
    parquet.write_table(pa.table(table), folder / "t.parquet")
    return load_source(Tables(interactions=folder / "t.parquet", items=folder / "t.parquet"))


def load_json(folder: Path, events: list[Any], items: list[Any] | None = None) -> RawData:
    """Lines: text as it is, anything else as JSON."""
    for name, lines in (("e", events), ("i", items or ITEMS)):
        text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (folder / f"{name}.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
    return load_source(Tables(interactions=folder / "e.jsonl", items=folder / "i.jsonl"))


def event(user: object, time: object = START, **more: object) -> dict[str, object]:
    return {"user_id": user, "item_id": "i", "timestamp": time, **more}


# ---------------------------------------------------------------- Parquet


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (pa.array([2**63, 2**64 - 1], pa.uint64()), ["9223372036854775808", "18446744073709551615"]),
        (pa.array([2**63, None], pa.uint64()), ["9223372036854775808", ""]),
        (pa.array([2**60 + 1, None], pa.int64()), ["1152921504606846977", ""]),
        (pa.array([7, None], pa.int8()), ["7", ""]),
        (pa.array([Decimal(10**30), None], pa.decimal128(38, 0)), ["1" + 30 * "0", ""]),
        (pa.array([Decimal("7.00"), Decimal("8.00")], pa.decimal128(10, 2)), ["7", "8"]),
        (pa.array(["007", "NA"]).dictionary_encode(), ["007", "NA"]),
        (pa.array(["007", None], pa.large_string()), ["007", ""]),
        (pa.array(["007", "x"], pa.string_view()), ["007", "x"]),
        (pa.array([7.0, None], pa.float64()), ["7", ""]),
    ],
)
def test_ids_of_parquet_are_exact(tmp_path: Path, ids: pa.Array, text: list[str]) -> None:
    raw = load(tmp_path, ids)
    assert raw.interactions["user_id"].tolist() == text
    assert raw.items["item_id"].tolist() == text


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (pa.array([2.0**53, 2.0**53 + 2]), r"exact below 9,007,199,254,740,992 only"),
        (pa.array([2.0**24, 1.0], pa.float32()), r"exact below 16,777,216 only"),
        (pa.array([float("inf"), 1.0]), "inf in row 0"),
        (pa.array([[1], [2]]), "text or whole numbers in column 'item_id' of .*row 0"),
        (pa.array([{"a": 1}, None]), "text or whole numbers"),
        (pa.array([True, None]), "text or whole numbers"),
        (pa.array([b"1", b"2"]), "text or whole numbers"),
    ],
)
def test_ids_of_parquet_that_are_none(tmp_path: Path, ids: pa.Array, said: str) -> None:
    with pytest.raises(RereError, match=said):
        load(tmp_path, ids)


def test_parquet_that_is_none_or_cut(tmp_path: Path) -> None:
    load(tmp_path, pa.array(["a", "b"]))
    path = tmp_path / "t.parquet"
    whole = path.read_bytes()
    for content in (b"", b"PAR1", b"user_id,item_id\n1,2\n", whole[:-9], whole[: len(whole) // 2], whole[4:]):
        path.write_bytes(content)
        with pytest.raises(RereError, match=r"a readable items table in .*t\.parquet"):
            load_source(Tables(interactions=path, items=path))


def test_a_column_of_parquet_twice(tmp_path: Path) -> None:
    columns = [pa.array(["i"]), pa.array(["A"]), pa.array(["B"])]
    parquet.write_table(pa.Table.from_arrays(columns, ["item_id", "title", "title"]), tmp_path / "t.parquet")
    with pytest.raises(RereError, match="one column 'title'"):
        load_source(Tables(interactions=tmp_path / "t.parquet", items=tmp_path / "t.parquet"))


# ---------------------------------------------------------------- JSON lines


@pytest.mark.parametrize("size", [blocks.BLOCK_BYTES, 20])
def test_json_lines_keep_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    events = [event("007"), event("2001-01-01", note={"a": 1}), "", event("NA", note=[2]), event(None, note="x")]
    raw = load_json(tmp_path, events, [{"item_id": "i", "title": "2001-01-01"}])
    assert raw.interactions["user_id"].tolist() == ["007", "2001-01-01", "NA", ""]
    assert raw.items["title"].tolist() == ["2001-01-01"]


def test_numbers_in_json_lines(tmp_path: Path) -> None:
    raw = load_json(tmp_path, [event(n, START + 0.5) for n in (1, 2**53 + 1, 2**70)])
    assert raw.interactions["user_id"].tolist() == ["1", "9007199254740993", str(2**70)]
    assert raw.interactions["timestamp"].tolist() == [START] * 3


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (["[", "]"], "one JSON object per line in .* '\\[' in line 1"),
        ([json.dumps([event("a"), event("b")])], "jq -c"),
        ([event("a"), "{broken"], "in line 2"),
        ([event("a"), event("b", "soon")], "one type of values in column 'timestamp'.*'soon'"),
        ([event("a", "2001-09-09"), event("b", "soon")], "'soon' in row 2"),
        ([json.dumps(event("a")) + json.dumps(event("b"))], "in line 1"),
        ([json.dumps(event("a"), indent=1)], "in line 1"),
        ([event("a"), event(1)], "one type of values in column 'user_id'"),
        (['{"user_id": 1, "user_id": 2, "item_id": "i", "timestamp": 1}'], "in line 1"),
        ([{"user": "a", "item_id": "i", "timestamp": 1}], "a column 'user_id' .* did you mean 'user'"),
        ([], "an empty file"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, events: list[Any], said: str) -> None:
    with pytest.raises(RereError, match=said):
        load_json(tmp_path, events)


def test_deep_nesting_in_an_unused_key_is_refused_by_its_line(tmp_path: Path) -> None:
    deep = '{"user_id": "a", "item_id": "i", "timestamp": 1, "note": ' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(RereError, match="in line 1002"):
        load_json(tmp_path, [*[event("a")] * 1001, deep])


def test_a_format_by_setting(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text(json.dumps(event("Ü")) + "\n", encoding="latin-1")
    (tmp_path / "i.jsonl").write_text(json.dumps(ITEMS[0]) + "\n")
    source = Tables(interactions=tmp_path / "e.txt", items=tmp_path / "i.jsonl")
    with pytest.raises(RereError, match=r"set `interactions_format`"):
        load_source(source)
    format = TableFormat(type="json_lines", encoding="latin-1")
    assert len(load_source(source.model_copy(update={"interactions_format": format})).interactions) == 1
    pd.DataFrame([event("a")]).to_parquet(tmp_path / "e.txt")
    format = TableFormat(type="parquet")
    assert len(load_source(source.model_copy(update={"interactions_format": format})).interactions) == 1
