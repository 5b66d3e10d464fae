"""Delimited text (CSV, TSV, ...), read by one strict rule: what could be read in two ways is refused.

A row is a line, and a line that is not empty is a row (with `quotes: several_lines`, a record of RFC 4180). A field
that starts with a quote ends with one, and quotes within are doubled; a quote further inside a field is a character.
Arrow alone would take a stray quote for the opening of a field that ends at the next quote, rows later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from rere.config.data import TableFormat
from rere.data.blocks import LINE_BYTES, Block, line_blocks
from rere.data.columns import require_columns
from rere.data.quotes import STAND_IN, Rule, bad_quotes, check_quotes, closed, ends_of_records, line_ends
from rere.errors import RereError

COMMON = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", "::": "::"}
HEADER_BYTES = 1 << 16


def rule_of(path: Path, format: TableFormat, default: str, setting: str) -> Rule:
    """How the file is split into fields: what its format says, with `default` as the delimiter where it says none."""
    delimiter = (format.delimiter or default).encode()
    return Rule(
        path=path,
        setting=setting,
        encoding=format.encoding,
        delimiter=delimiter,
        names=format.columns,
        quotes=format.quotes,
        escape=format.escape,
    )


def column_names(rule: Rule) -> list[str]:
    """Those of the header line or of the settings."""
    if rule.names is not None:
        return list(rule.names)
    header, rest = _header(_prepared(rule, next(_blocks(rule, HEADER_BYTES), Block(b"", 1))))
    if not header:
        raise RereError(f"a header line in {rule.path}", "an empty file", "give a file with rows")
    check_quotes(rule, Block(header, rest.first_line - 1))
    with csv.open_csv(pa.BufferReader(header), parse_options=rule.options()) as reader:
        return list(reader.schema.names)


def require_text_columns(rule: Rule, there: list[str], columns: list[str], remedy: str) -> None:
    """`require_columns`; where another delimiter would give the columns, the message says so."""
    if not set(columns) <= set(there):
        line = rule.mark.decode().join(there)
        for mark, name in COMMON.items():
            fields = {field.strip().strip('"') for field in line.split(mark)}
            if mark.encode() != rule.delimiter and set(columns) <= fields:
                raise RereError(
                    f"columns separated by {COMMON.get(rule.delimiter.decode(), repr(rule.delimiter.decode()))} "
                    f"in {rule.path}",
                    f"columns separated by {name}: {line[:200]!r}",
                    f"set `{rule.setting}: {{delimiter: {_yaml(mark)}}}`",
                )
        if not set(columns) & set(there) and rule.names is None:
            remedy += f"; if the file has no header line, name its columns: `{rule.setting}: {{columns: [...]}}`"
    require_columns(there, columns, str(rule.path), remedy)


def text_parts(rule: Rule, columns: list[str]) -> Iterator[tuple[pd.DataFrame, int]]:
    """The columns as text, with the number of each part's first line; no text stands for a missing value.

    Raises:
        RereError: a line that can be read in two ways or in none, by its number.
    """
    names = column_names(rule)
    header_due = rule.names is None
    for block in _blocks(rule):
        block = _prepared(rule, block)
        if header_due:
            header, block = _header(block)
            header_due = not header
        if not block.data:
            continue
        check_quotes(rule, block)
        frame = _parsed(rule, block, names, columns)
        yield frame, block.first_line


def _parsed(rule: Rule, block: Block, names: list[str], columns: list[str]) -> pd.DataFrame:
    odd: list[csv.InvalidRow] = []
    options = rule.options()

    def stop(row: csv.InvalidRow) -> str:
        odd.append(row)
        return "error"

    options.invalid_row_handler = stop
    try:
        table = csv.read_csv(
            pa.BufferReader(block.data),
            csv.ReadOptions(use_threads=False, block_size=len(block.data) + 1, column_names=names),
            options,
            csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if not odd:
            raise
        shown = odd[0].text.replace(rule.mark.decode(), rule.delimiter.decode())
        raise RereError(
            f"{odd[0].expected_columns} fields in every line of {rule.path}",
            f"{odd[0].actual_columns} in line {_line(rule, block, odd[0].number)}: {shown[:200]!r}",
            f"repair that line, or set `delimiter`, `quotes` or `escape` in `{rule.setting}`",
        ) from None
    rows = len(ends_of_records(rule, block.data))
    if table.num_rows != rows:
        raise RereError(
            f"{rows:,} rows from line {block.first_line:,} of {rule.path} on, as many as there are lines with text",
            f"{table.num_rows:,}",
            f"set `quotes` and `escape` in `{rule.setting}` to what the file has",
        )
    return table.to_pandas().astype("str")


# ---------------------------------------------------------------- blocks of whole records


def _blocks(rule: Rule, size: int | None = None) -> Iterator[Block]:
    blocks = line_blocks(rule.path, rule.encoding, rule.setting, size)
    return _whole_records(rule, blocks) if rule.quotes == "several_lines" else blocks


def _whole_records(rule: Rule, blocks: Iterator[Block]) -> Iterator[Block]:
    """Blocks cut where no quote is open."""
    rest, line = b"", 1
    for block in blocks:
        data = rest + block.data
        ends = np.flatnonzero(line_ends(rule, data))
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield Block(data[:cut], line)
            line += data.count(b"\n", 0, cut)
        rest = data[cut:]
        if len(rest) > LINE_BYTES:
            break
    last = _prepared(rule, Block(rest, line))
    if not closed(rule, last.data):
        check_quotes(rule, last)  # which may know better where it went wrong
        raise bad_quotes(rule, line + last.data.count(b"\n", 0, last.data.rfind(b'"')), "a quote that is never closed")
    if rest:
        yield Block(rest, line)


def _line(rule: Rule, block: Block, record: int) -> int:
    """Number of the line where a record (from 1) ends."""
    return block.first_line + block.data.count(b"\n", 0, int(ends_of_records(rule, block.data)[record - 1]))


def _header(block: Block) -> tuple[bytes, Block]:
    """The first line that holds anything, and what comes after it."""
    found = re.match(rb"(?:\r?\n)*([^\n]+(?:\n|\Z))", block.data)
    if found is None or not found[1].strip(b"\r\n"):
        return b"", Block(b"", block.first_line)
    return found[1], Block(block.data[found.end() :], block.first_line + found[0].count(b"\n"))


def _prepared(rule: Rule, block: Block) -> Block:
    """With a delimiter that Arrow takes."""
    if rule.mark == rule.delimiter:
        return block
    if STAND_IN in block.data:
        line = block.first_line + block.data.count(b"\n", 0, block.data.index(STAND_IN))
        raise RereError(f"text in {rule.path}", f"a control character (0x1f) in line {line}", "remove it")
    return block._replace(data=block.data.replace(rule.delimiter, STAND_IN))


def _yaml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'
