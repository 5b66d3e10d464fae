"""JSON lines: one object per line, of which the named columns are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from rere.data.blocks import line_blocks
from rere.data.parquet_files import plain_frame
from rere.errors import RereError

HEAD_LINES = 1_000  # in which each column occurs
NESTED = 500  # brackets of one line; Arrow crashes where very many are nested
Types = dict[str, pa.DataType]


def column_names(path: Path, encoding: str, setting: str) -> list[str]:
    """The keys of the first objects."""
    for block in line_blocks(path, encoding, setting):
        keys: dict[str, None] = {}
        for number, line in enumerate(block.data.split(b"\n")[:HEAD_LINES], start=block.first_line):
            keys |= dict.fromkeys(_object(line, path, number)) if line.strip() else {}
        if keys:
            return list(keys)
    raise RereError(f"JSON lines in {path}", "an empty file", "give a file with rows")


def json_parts(columns: list[str], path: Path, encoding: str, setting: str) -> Iterator[tuple[pd.DataFrame, int]]:
    """The columns in parts, with the number of each part's first line; a key that an object lacks is missing.

    Raises:
        RereError: a line that holds no object, or several objects.
    """
    types: Types = {}
    for block in line_blocks(path, encoding, setting):
        lines = sum(1 for line in block.data.split(b"\n") if line.strip())
        if not lines:
            continue
        table, types = _table(block.data, columns, types, path, block.first_line)
        if table.num_rows != lines:
            raise RereError(
                f"one JSON object per line in {path}",
                f"{table.num_rows:,} objects in {lines:,} lines from line {block.first_line:,} on",
                "write each object on a line of its own",
            )
        yield plain_frame(table), block.first_line


def _table(data: bytes, columns: list[str], types: Types, path: Path, first_line: int) -> tuple[pa.Table, Types]:
    """The columns, and the types to try on the next block.

    Arrow guesses the types. Where a guess would change what is there (large numbers to floats, dates in text), or an
    object's other keys confuse it, the lines are read one by one.
    """
    if _brackets(data) > NESTED:
        return _read_slowly(data, columns, path, first_line), {}
    if types:
        try:
            table = _read(data, types)
            return (_read_slowly(data, columns, path, first_line) if _is_vague(table) else table), types
        except pa.ArrowInvalid:
            pass  # this block has other types
    try:
        table = arrow_json.read_json(pa.BufferReader(data), arrow_json.ReadOptions(block_size=len(data) + 1))
    except pa.ArrowInvalid:
        return _read_slowly(data, columns, path, first_line), {}
    found = {name: table.schema.field(name).type if name in table.column_names else pa.null() for name in columns}
    types = {name: pa.string() if _is_text(kind) else kind for name, kind in found.items()}
    table = table.select(columns) if types == found else _read(data, types)
    return (_read_slowly(data, columns, path, first_line) if _is_vague(table) else table), types


def _brackets(data: bytes) -> int:
    """The most that are opened in a line."""
    characters = np.frombuffer(data, dtype=np.uint8)
    opened = np.flatnonzero((characters == ord("[")) | (characters == ord("{")))
    lines = np.searchsorted(np.flatnonzero(characters == ord("\n")), opened)
    return int(np.bincount(lines).max()) if len(lines) else 0


def _is_vague(table: pa.Table) -> bool:
    """Whether whole numbers became floats that don't tell them apart."""
    floats = (column for column in table.columns if pa.types.is_floating(column.type))
    return any((pc.max(pc.abs(column)).as_py() or 0) >= 2**53 for column in floats)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or pa.types.is_timestamp(kind)


def _read(data: bytes, types: Types) -> pa.Table:
    return arrow_json.read_json(
        pa.BufferReader(data),
        arrow_json.ReadOptions(block_size=len(data) + 1),
        arrow_json.ParseOptions(explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"),
    ).select(list(types))


def _read_slowly(data: bytes, columns: list[str], path: Path, first_line: int) -> pa.Table:
    rows = []
    for number, line in enumerate(data.split(b"\n"), start=first_line):
        if line.strip():
            found = _object(line, path, number)
            rows.append({name: found.get(name) for name in columns})
    table = {}
    for name in columns:
        values = [row[name] for row in rows]
        if all(type(value) is int or value is None for value in values):
            values = [value if value is None else str(value) for value in values]  # of any size
        try:
            table[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise RereError(
                f"one type of values in column {name!r} from line {first_line:,} of {path} on",
                " ".join(str(error).split())[:300],
                "write ids and titles as text, times as numbers or ISO 8601 text",
            ) from error
    return pa.table(table)


def _object(line: bytes, path: Path, number: int) -> dict[str, object]:
    """The line's object; RereError for anything else, and for a key given twice."""
    try:
        found = json.loads(line, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    is_list = line.lstrip().startswith(b"[")
    raise RereError(
        f"one JSON object per line in {path}",
        f"{line[:200].decode(errors='replace')!r} in line {number}",
        "write a list's objects each on a line (`jq -c '.[]'`)" if is_list else "repair that line",
    )


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found
