"""Whatever a file holds, a source reads all of its rows or says in one message why it doesn't."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from rere.config.data import TableFormat
from rere.data import blocks
from rere.data.raw import RawData
from rere.data.sources.base import load_source
from rere.data.sources.hub import HubDataset
from rere.data.sources.tables import Tables
from rere.errors import RereError
from tests.data.helpers import START

NAMES = ("user_id", "item_id", "timestamp", "title")
TEXT = st.text(alphabet=st.sampled_from(list("ab07,;\t|:\"\\\n\r\0é '{}[]")) | st.characters(codec="utf-8"), max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**65)
    | st.floats()
    | TEXT
    | st.sampled_from([START, str(START), "007"])
)
VALUES = (
    SCALARS | st.lists(st.integers(0, 3), max_size=2) | st.dictionaries(st.sampled_from("ab"), st.none(), max_size=1)
)
ROWS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys((*NAMES, "note"), VALUES)), max_size=5)
FORMATS = st.builds(
    TableFormat,
    type=st.sampled_from(["by_name", "text", "json_lines", "parquet"]),
    encoding=st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-8-sig"]),
    delimiter=st.sampled_from([None, ",", ";", "::", "\t"]),
    columns=st.sampled_from([None, NAMES, ("user_id", "item_id")]),
    quotes=st.sampled_from(["one_line", "several_lines", "characters"]),
    escape=st.sampled_from(["none", "backslash"]),
)
quick = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 24)  # so that a few rows are several blocks


def read(name: str, content: bytes, format: TableFormat | None = None) -> RawData | None:
    """The one file as both tables; None where a RereError refuses it. Anything else fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        format = format or TableFormat()
        try:
            return load_source(Tables(interactions=path, items=path, interactions_format=format, items_format=format))
        except RereError as error:
            expected, got, remedy = error.parts
            assert expected
            assert got
            assert remedy
            return None


def rows_of(raw: RawData) -> tuple[int, int]:
    """Interactions, and item rows before repetitions went."""
    return len(raw.interactions), len(raw.items) + raw.dropped["repeated item rows"]


@quick
@given(content=st.binary(max_size=200) | TEXT.map(str.encode), format=FORMATS)
@example(content=b"\xff\xfe" + "user_id,item_id".encode("utf-16-le"), format=TableFormat())
@example(content=b"", format=TableFormat(type="parquet"))
@pytest.mark.parametrize(
    "name", ["t.csv", "t.csv.gz", "t.tsv.bz2", "t.csv.xz", "t.csv.zst", "t.jsonl", "t.parquet", "t"]
)
def test_any_bytes(name: str, content: bytes, format: TableFormat) -> None:
    read(name, content, format)


@quick
@given(lines=st.lists(st.lists(TEXT, min_size=2, max_size=5).map(",".join), max_size=6), format=FORMATS)
def test_any_lines_below_a_header(lines: list[str], format: TableFormat) -> None:
    content = "\n".join([",".join(NAMES), *lines]).encode()
    read("t.csv", content, format.model_copy(update={"type": "text", "delimiter": None}))


@quick
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=6),
    quotes=st.sampled_from(["one_line", "several_lines", "characters"]),
)
@example(rows=[("a", "b", '"'), ("c", "d", "e"), ("f", "g", '"')], quotes="one_line")
def test_text_as_a_csv_writer_writes_it(rows: list[tuple[str, str, str]], quotes: str) -> None:
    table = [(user, item, str(START + n), title) for n, (user, item, title) in enumerate(rows)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([NAMES, *table])
    raw = read("t.csv", written.getvalue().encode(), TableFormat.model_validate({"quotes": quotes}))
    if raw is not None and quotes != "characters":
        assert raw.interactions["user_id"].tolist() == [user.strip() for user, *_ in table]
        assert rows_of(raw) == (len(rows), len(rows))
        titles = {(item.strip(), title) for _, item, _, title in table}
        assert set(raw.items.itertuples(index=False, name=None)) == titles


@quick
@given(rows=st.lists(st.tuples(*[st.text(alphabet="ab\"\\ '", min_size=1, max_size=5)] * 3), min_size=1, max_size=9))
def test_unquoted_text_loses_no_row(rows: list[tuple[str, str, str]]) -> None:
    """Written without quoting: each line is a row, or the file is refused; as characters, nothing is refused."""
    lines = [f"{user}\t{item}\t{START + n}\t{title}" for n, (user, item, title) in enumerate(rows)]
    content = "\n".join(["\t".join(NAMES), *lines, ""]).encode()
    raw = read("t.tsv", content, TableFormat(quotes="characters"))
    assert raw is not None
    assert raw.interactions["user_id"].tolist() == [user.strip() for user, *_ in rows]
    if (strict := read("t.tsv", content)) is not None:
        assert rows_of(strict) == (len(rows), len(rows))


@quick
@given(rows=ROWS, wrap=st.sampled_from(["lines", "list", "indent"]))
@example(rows=[{"user_id": 2**64, "item_id": "i", "timestamp": START, "title": "T"}], wrap="lines")
@example(rows=[{"user_id": "\ud800", "item_id": "i", "timestamp": START, "title": "T"}], wrap="lines")
@example(rows=[{"user_id": math.inf, "item_id": "i", "timestamp": START, "title": "T"}], wrap="lines")
def test_any_objects(rows: list[dict[str, Any]], wrap: str) -> None:
    lines = [json.dumps(row, indent=1 if wrap == "indent" else None) for row in rows]
    content = json.dumps(rows) if wrap == "list" else "\n".join(lines)
    raw = read("t.jsonl", content.encode())
    if raw is not None:
        assert rows_of(raw) == (len(rows), len(rows))
        for row, user in zip(rows, raw.interactions["user_id"], strict=True):  # but the order of a second's fractions
            if all(isinstance(one.get("timestamp"), int) and one["timestamp"] == START for one in rows):
                assert user == as_id(row.get("user_id"))


def as_id(value: Any) -> str:
    if value is None or value != value:
        return ""
    return value.strip() if isinstance(value, str) else str(int(value))


TYPES = st.sampled_from(
    [
        *(pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(20, 2), pa.bool_(), pa.null()),
        *(pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())),
        *(pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.date32(), pa.duration("s"), pa.time64("us")),
        *(pa.list_(pa.int64()), pa.struct([("a", pa.int64())])),
    ]
)


def convert(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values that this type can hold, the others missing."""
    kept = []
    for value in values:
        try:
            kept.append(pa.array([value], kind)[0].as_py())
        except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError):
            kept.append(None)
    return pa.array(kept, kind)


@quick
@given(data=st.data(), size=st.integers(0, 5))
def test_any_types_of_parquet_whole_and_cut(data: st.DataObject, size: int) -> None:
    columns = {}
    for name in data.draw(st.lists(st.sampled_from([*NAMES, "User_Id"]), unique=True, min_size=1)):
        values = data.draw(st.lists(VALUES | st.just(START), min_size=size, max_size=size))
        columns[name] = convert(values, data.draw(TYPES))
    written = io.BytesIO()
    parquet.write_table(pa.table(columns), written)
    whole = written.getvalue()
    if (raw := read("t.parquet", whole)) is not None:
        assert rows_of(raw) == (size, size)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read("t.parquet", whole[:cut]) is None
    position = data.draw(st.integers(0, len(whole) - 1))
    read("t.parquet", whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, bytes], RawData | None]:
    """A local data set of one file, as both tables."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def load(name: str, content: bytes) -> RawData | None:
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / name).write_bytes(content)
        try:
            return load_source(HubDataset(interactions=str(tmp_path / "set"), items=str(tmp_path / "set")))
        except RereError:
            return None

    return load


@settings(quick, max_examples=25)
@given(
    name=st.sampled_from(["t.csv", "t.jsonl", "t.json", "t.parquet", "t.txt"]),
    content=st.binary(max_size=60) | ROWS.map(json.dumps).map(str.encode),
)
def test_any_data_set(hub: Callable[[str, bytes], RawData | None], name: str, content: bytes) -> None:
    hub(name, content)


@settings(quick, max_examples=25)
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_data_sets_of_csv_lose_no_row(
    hub: Callable[[str, bytes], RawData | None], rows: list[tuple[str, str, str]]
) -> None:
    written = io.StringIO()
    table = [(user, item, str(START + n), title) for n, (user, item, title) in enumerate(rows)]
    csv.writer(written, lineterminator="\r\n").writerows([NAMES, *table])
    raw = hub("t.csv", written.getvalue().encode())
    if raw is not None:
        assert raw.interactions["user_id"].tolist() == [user.strip() for user, *_ in table]
        assert rows_of(raw) == (len(rows), len(rows))
