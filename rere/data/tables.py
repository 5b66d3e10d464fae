"""Tables: delimited text, JSON lines or Parquet, each a file or a directory of files."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pandas as pd
import pyarrow

from rere.config.data import TableColumns, TableFormat
from rere.data import delimited, json_lines, parquet_files
from rere.data.blocks import COMPRESSIONS
from rere.data.columns import require_columns, require_file
from rere.data.raw import Part
from rere.errors import RereError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # in the name of a directory of rows without a value
FIRST_LINE = 2  # line 1 of a text table is its header
Reader = Callable[[list[str]], Iterator[tuple[pd.DataFrame, int]]]  # columns -> parts and their first rows
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException)


class Wanted(NamedTuple):
    """What is read of a table."""

    role: str  # what the table holds, for messages
    columns: list[str]
    remedy: str  # for a missing column
    optional: Sequence[str] = ()  # columns that are read where they are there
    format: TableFormat = TableFormat()
    setting: str = "format"  # the one that `format` comes from, for messages


class File(NamedTuple):
    """One file of a table, and the constants that its directories' names (`country=de`) give."""

    path: Path
    constants: dict[str, str]


def wanted_of(source: TableColumns) -> tuple[Wanted, Wanted]:
    """Of the interactions and of the items."""
    remedy = "rename the column, or name yours in the `source` setting (…_column, item_columns)"
    columns = [source.user_column, source.item_column, source.time_column]
    titled = [source.items_id_column or source.item_column, source.title_column, *source.item_columns]
    return (
        Wanted(
            role="interactions",
            columns=columns,
            remedy=remedy,
            optional=(),
            format=source.interactions_format,
            setting="interactions_format",
        ),
        Wanted(
            role="items", columns=titled, remedy=remedy, optional=(), format=source.items_format, setting="items_format"
        ),
    )


def table_files(table: Path, role: str) -> list[File]:
    """The table's own file, or those of its directory in order of their names; RereError where there is none.

    Names that begin with _ or . are not data, by the custom of the tools that write such directories.
    """
    if not table.is_dir():
        return [File(require_file(table, role), {})]
    found = []
    for path in sorted(table.rglob("*")):
        parts = path.relative_to(table).parts
        if path.is_file() and not any(part.startswith(("_", ".")) for part in parts):
            pairs = (part.split("=", 1) for part in parts[:-1] if "=" in part)
            found.append(File(path, {name: "" if value == NO_VALUE else unquote(value) for name, value in pairs}))
    if not found:
        raise RereError(f"{role} in the directory {table}", "no files", "give a file, or a directory of files")
    return found


def read_table(
    path: Path,
    role: str,
    columns: list[str],
    remedy: str,
    optional: Sequence[str] = (),
    *,
    format: TableFormat = TableFormat(),  # noqa: B008 - frozen
) -> pd.DataFrame:
    """`read_parts`, joined."""
    parts = read_parts(path, Wanted(role, columns, remedy, optional, format))
    return pd.concat([part.frame for part in parts], ignore_index=True)


def read_parts(path: Path, wanted: Wanted) -> Iterator[Part]:
    """The wanted columns of a table, in parts. RereError as `read_files`."""
    return read_files(table_files(path, wanted.role), path, wanted)


def read_files(files: list[File], where: Path | str, wanted: Wanted) -> Iterator[Part]:
    """The wanted columns of a table's files, in parts.

    Text comes as text, and no text stands for a missing value: "NA" and "Null" are titles and names.

    Raises:
        RereError: a missing file or column, a damaged file, one that can be read in two ways, no rows at all.
    """
    kinds = {kind_of(file.path, wanted): file.path for file in files}
    if len(kinds) > 1:
        raise RereError(f"files of one kind in {where}", ", ".join(map(str, kinds.values())), "keep one kind there")
    rows = 0
    for file in files:
        try:
            for part in _parts_of_file(file, wanted):
                rows += len(part.frame)
                yield part
        except UNREADABLE as error:
            said = " ".join(str(error).split())[:500]
            raise RereError(
                f"a readable {wanted.role} table in {file.path}", f"{type(error).__name__}: {said}", "repair it"
            ) from error
    if not rows:
        raise RereError(f"rows in {where}", "a header only", f"give a file with {wanted.role}")


def _parts_of_file(file: File, wanted: Wanted) -> Iterator[Part]:
    path, constants = file
    own = [name for name in wanted.columns if name not in constants]
    there, read = _reader(path, wanted, own)
    require_columns(there, own, str(path), wanted.remedy)
    chosen = [name for name in dict.fromkeys(there) if name in {*own, *wanted.optional}]
    require_columns(there, chosen, str(path), wanted.remedy)
    added = {name: value for name, value in constants.items() if name in {*wanted.columns, *wanted.optional}}
    for frame, first in read(chosen):
        yield Part(frame.assign(**added), path, first)


def _reader(path: Path, wanted: Wanted, own: list[str]) -> tuple[list[str], Reader]:
    """The names of the file's columns, and what reads chosen ones."""
    kind, format = kind_of(path, wanted), wanted.format
    if kind == "parquet":
        return parquet_files.column_names(path), lambda chosen: parquet_files.parquet_parts(path, chosen)
    if kind == "json_lines":
        file = path, format.encoding, wanted.setting
        return json_lines.column_names(*file), lambda chosen: json_lines.json_parts(chosen, *file)
    rule = delimited.rule_of(path, format, DELIMITERS.get(_suffix(path), ","), wanted.setting)
    there = delimited.column_names(rule)
    delimited.require_text_columns(rule, there, own, wanted.remedy)
    return there, lambda chosen: delimited.text_parts(rule, chosen)


def kind_of(path: Path, wanted: Wanted) -> str:
    """text, json_lines or parquet."""
    if wanted.format.type != "by_name":
        return wanted.format.type
    if path.suffix.lower() in PARQUET:
        return "parquet"
    if _suffix(path) in JSON_LINES:
        return "json_lines"
    if _suffix(path) in DELIMITERS or wanted.format.delimiter:
        return "text"
    raise RereError(
        f"a .csv, .tsv, .jsonl (each also {', '.join(COMPRESSIONS)}) or .parquet file for {wanted.role}",
        str(path),
        f"convert or rename the file, or set `{wanted.setting}`: its `type`, or the `delimiter` of a text file",
    )


def _suffix(path: Path) -> str:
    """.csv of data.CSV.gz."""
    return (Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix).lower()
