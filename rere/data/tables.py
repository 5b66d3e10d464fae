"""Source: a pair of CSV, TSV or Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow
from pyarrow import csv, parquet

from rere.artifacts import sha256
from rere.config import Tables
from rere.data.columns import require_columns, require_file
from rere.data.raw import RawData, raw_from_tables
from rere.errors import RereError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
FIRST_LINE = 2  # line 1 of a text table is its header


def files(source: Tables) -> list[Path]:
    return [source.interactions, source.items]


def load(source: Tables) -> RawData:
    """Read both files.

    Raises:
        RereError: a missing file or column, a wrong type, an unreadable time, a damaged file.
    """
    remedy = "rename the column, or name yours in the `source` setting (…_column)"
    wanted = [source.user_column, source.item_column, source.time_column]
    events = read_table(source.interactions, "interactions", wanted, remedy)
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
    """The named columns (and those of `optional` that are there) of a CSV, TSV (also .gz) or Parquet file.

    Text tables come as text, and no text stands for a missing value: "NA" and "Null" are titles and names.
    """
    require_file(path, role)
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.suffix not in PARQUET and kind not in SEPARATORS:
        raise RereError(f"a .csv, .tsv (also .gz) or .parquet file for {role}", str(path), "convert or rename the file")
    try:
        there = _column_names(path, kind)
        require_columns(there, columns, str(path), remedy)
        wanted = [name for name in there if name in {*columns, *optional}]
        frame = pd.read_parquet(path, columns=wanted) if kind in PARQUET else _read_text(path, kind, wanted)
    except (ValueError, OSError, EOFError) as error:  # Arrow's own errors are ValueErrors
        raise RereError(
            f"a readable {role} table in {path}", f"{type(error).__name__}: {error}", "repair it"
        ) from error
    if frame.empty:
        raise RereError(f"rows in {path}", "a header only", f"give a file with {role}")
    return frame


def _column_names(path: Path, kind: str) -> list[str]:
    if kind in PARQUET:
        return list(parquet.read_schema(path).names)
    with csv.open_csv(path, parse_options=_format(kind)) as reader:
        return list(reader.schema.names)


def _read_text(path: Path, kind: str, columns: list[str]) -> pd.DataFrame:
    """By Arrow, which refuses rows with more or fewer fields than the header; pandas cuts or fills them."""
    conversion = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pyarrow.string()), include_columns=columns, strings_can_be_null=False
    )
    table = csv.read_csv(path, parse_options=_format(kind), convert_options=conversion)
    return table.to_pandas().astype("str")


def _format(kind: str) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter=SEPARATORS[kind], newlines_in_values=True)
