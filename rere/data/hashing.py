"""Sums over the content of tables, a batch of rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

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
    sums = np.empty(len(table), dtype=np.uint64)
    low = 0
    for part in plain_batches(table):
        sums[low : low + len(part)] = pd.util.hash_pandas_object(part, index=False, categorize=False)
        low += len(part)
    return sums


def sum_of_numbered(values: np.ndarray) -> str:
    """SHA-256 of the lines `n value`, sorted by n as text: `manifest.fingerprint` of the mapping n -> value."""
    digest = hashlib.sha256()
    for numbers in in_order_of_text(len(values)):
        lines = zip(numbers.tolist(), values[numbers].tolist(), strict=True)
        digest.update("".join(f"{number} {value}\n" for number, value in lines).encode())
    return digest.hexdigest()


def in_order_of_text(count: int) -> Iterator[np.ndarray]:
    """The numbers 0 to `count` - 1 as text sorts them (0, 1, 10, 100, 11, ...), in parts; nothing is sorted whole."""
    if count:
        yield np.zeros(1, dtype=np.int64)
    for digit in range(1, 10):
        yield from _that_begin_with(digit, count)


def _that_begin_with(prefix: int, count: int) -> Iterator[np.ndarray]:
    """The numbers below `count` whose first digits are `prefix`, in order of text."""
    bounds = []  # of those of as many digits as the prefix, of one more, ...
    scale = 1
    while prefix * scale < count:
        bounds.append((prefix * scale, min((prefix + 1) * scale, count)))
        scale *= 10
    if sum(high - low for low, high in bounds) > BATCH_ROWS:
        yield np.array([prefix], dtype=np.int64)
        for digit in range(10):
            yield from _that_begin_with(10 * prefix + digit, count)
    elif bounds:
        runs = [np.arange(low, high, dtype=np.int64) for low, high in bounds]
        # As text, numbers sort as if filled up with zeros on the right; of equals, the shorter comes first, as here.
        filled = np.concatenate([run * 10 ** (len(runs) - n) for n, run in enumerate(runs)])
        yield np.concatenate(runs)[np.argsort(filled, kind="stable")]
