"""Source: a pair of CSV, TSV or Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow
from pyarrow import csv, parquet

from rere.artifacts.manifest import sha256
from rere.config.data import Tables
from rere.data.columns import require_columns, require_file
from rere.data.raw import RawData, raw_from_tables
from rere.errors import RereError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
FIRST_LINE = 2  # line 1 of a text table is its header
PART_ROWS, PART_BYTES = 500_000, 1 << 24  # of a table at a time


def files(source: Tables) -> list[Path]:
    return [source.interactions, source.items]


def load(source: Tables) -> RawData:
    """Read both files, the interactions in parts.

    Raises:
        RereError: a missing file or column, a wrong type, an unreadable time, a damaged file.
    """
    remedy = "rename the column, or name yours in the `source` setting (…_column)"
    wanted = [source.user_column, source.item_column, source.time_column]
    events = read_parts(source.interactions, "interactions", wanted, remedy)
    catalogue = read_table(source.items, "items", [source.item_column, source.title_column], remedy)
    return raw_from_tables(
        source,
        f"tables {source.interactions.name}, {source.items.name}",
        events,
        catalogue,
        {str(path): sha256(path) for path in files(source)},
        first_row=0 if source.interactions.suffix in PARQUET else FIRST_LINE,
    )


def read_table(path: Path, role: str, columns: list[str], remedy: str, optional: Sequence[str] = ()) -> pd.DataFrame:
    """`read_parts`, joined."""
    return pd.concat(read_parts(path, role, columns, remedy, optional), ignore_index=True)


def read_parts(
    path: Path, role: str, columns: list[str], remedy: str, optional: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """The named columns (and those of `optional` that are there) of a CSV, TSV (also .gz) or Parquet file, in parts.

    Text tables come as text, and no text stands for a missing value: "NA" and "Null" are titles and names.
    """
    require_file(path, role)
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.suffix not in PARQUET and kind not in SEPARATORS:
        raise RereError(f"a .csv, .tsv (also .gz) or .parquet file for {role}", str(path), "convert or rename the file")
    rows = 0
    try:
        there = _column_names(path, kind)
        require_columns(there, columns, str(path), remedy)
        wanted = [name for name in there if name in {*columns, *optional}]
        for part in _parquet_parts(path, wanted) if kind in PARQUET else _text_parts(path, kind, wanted):
            rows += len(part)
            yield part
    except (ValueError, OSError, EOFError) as error:  # Arrow's own errors are ValueErrors
        raise RereError(
            f"a readable {role} table in {path}", f"{type(error).__name__}: {error}", "repair it"
        ) from error
    if not rows:
        raise RereError(f"rows in {path}", "a header only", f"give a file with {role}")


def _column_names(path: Path, kind: str) -> list[str]:
    if kind in PARQUET:
        return list(parquet.read_schema(path).names)
    with csv.open_csv(path, parse_options=_format(kind)) as reader:
        return list(reader.schema.names)


def _parquet_parts(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Whole numbers stay whole where some are missing: as floats, large ids would change."""
    integers = {pyarrow.int64(): pd.Int64Dtype(), pyarrow.uint64(): pd.UInt64Dtype()}
    with parquet.ParquetFile(path, memory_map=True) as file:
        for batch in file.iter_batches(PART_ROWS, columns=columns):
            nullable = any(column.null_count for column in batch.columns)
            yield batch.to_pandas(types_mapper=integers.get if nullable else None)


def _text_parts(path: Path, kind: str, columns: list[str]) -> Iterator[pd.DataFrame]:
    """By Arrow, which refuses rows with more or fewer fields than the header; pandas cuts or fills them."""
    conversion = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pyarrow.string()), include_columns=columns, strings_can_be_null=False
    )
    options = csv.ReadOptions(block_size=PART_BYTES)
    with csv.open_csv(path, options, parse_options=_format(kind), convert_options=conversion) as reader:
        for batch in reader:
            yield batch.to_pandas().astype("str")


def _format(kind: str) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter=SEPARATORS[kind], newlines_in_values=True)
