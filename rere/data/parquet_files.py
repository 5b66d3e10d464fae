"""Parquet files, and what both they and JSON lines need on their way from Arrow to pandas: nothing may change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from rere.errors import RereError

PART_ROWS = 500_000  # of a file at a time


def column_names(path: Path) -> list[str]:
    """The file's columns, in its order."""
    return list(parquet.read_schema(path).names)


def parquet_parts(path: Path, columns: list[str], part_rows: int | None = None) -> Iterator[tuple[pd.DataFrame, int]]:
    """The columns in parts, with the number of each part's first row (from 0); as many rows as the file says."""
    rows = 0
    with parquet.ParquetFile(path, memory_map=True) as file:
        for batch in file.iter_batches(part_rows or PART_ROWS, columns=columns):
            yield plain_frame(pa.Table.from_batches([batch])), rows
            rows += len(batch)
        if rows != file.metadata.num_rows:
            raise RereError(
                f"{file.metadata.num_rows:,} rows in {path}, as its footer says", f"{rows:,}", "write the file again"
            )


def plain_frame(table: pa.Table) -> pd.DataFrame:
    """Whole numbers stay whole where some are missing (as floats, large ids would change), decimals become text."""
    for n, field in enumerate(table.schema):
        table = table.set_column(n, field.name, _plain(table.column(n)))
    integers = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    nullable = any(column.null_count for column in table.columns)
    return table.to_pandas(types_mapper=integers.get if nullable else None)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        with suppress(pa.ArrowInvalid):  # with decimals, or longer: digits as they are
            column = pc.cast(column, pa.decimal128(38, 0))
        return column.cast(pa.string())
    return column
