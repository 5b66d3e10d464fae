"""Sums over the content of tables, a batch of rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rere.data.histories import Histories

BATCH_ROWS = 500_000


def plain_batches(table: pd.DataFrame, rows: int | None = None) -> Iterator[pd.DataFrame]:
    """The rows in batches (one at least), categories as plain text and histories as tuples."""
    rows = rows or BATCH_ROWS
    for low in range(0, max(len(table), 1), rows):
        part = table.iloc[low : low + rows]
        plain: dict[str, Any] = {}
        for name, column in part.items():
            if isinstance(column.array, Histories):
                plain[str(name)] = pd.Series([*map(tuple, column.array)], index=part.index, dtype=object)
            elif isinstance(column.dtype, pd.CategoricalDtype):
                plain[str(name)] = column.astype(column.cat.categories.dtype)
        yield part.assign(**plain)


def row_sums(table: pd.DataFrame) -> np.ndarray:
    """(rows,) uint64: a hash of each row's content, whatever the columns' types of text."""
    parts = (pd.util.hash_pandas_object(part, index=False, categorize=False) for part in plain_batches(table))
    return np.concatenate([part.to_numpy() for part in parts])


def sum_of_numbered(values: np.ndarray) -> str:
    """SHA-256 of the lines `n value`, sorted by n as text: `manifest.fingerprint` of the mapping n -> value."""
    numbers_as_text = pc.cast(pa.array(np.arange(len(values))), pa.large_string())
    order = pc.array_sort_indices(numbers_as_text).to_numpy()
    digest = hashlib.sha256()
    for low in range(0, len(order), BATCH_ROWS):
        numbers = order[low : low + BATCH_ROWS]
        lines = zip(numbers.tolist(), values[numbers].tolist(), strict=True)
        digest.update("".join(f"{number} {value}\n" for number, value in lines).encode())
    return digest.hexdigest()
