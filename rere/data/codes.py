"""Columns of text as integer codes: what sorting, joining and counting need at tens of millions of rows.

A category column keeps each distinct text once and a code per row; every function here takes plain text as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from rere.data import blockwise
from rere.data.blockwise import Column, looked_up, runs, slices, tally

BATCH_ROWS = 1_000_000  # rows that are looked at together


def category(column: pd.Series) -> pd.Series:
    """Text as a category column, names in order of first appearance; a category column as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    codes, names = pd.factorize(column)
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names, dtype="str")), index=column.index)


class TextCodes:
    """A text column that comes in parts, as one category column: each distinct text is held once."""

    def __init__(self) -> None:
        self.names = pa.array([], pa.large_string())
        self.codes = Column(np.int32)
        self._waiting: list[pa.DictionaryArray] = []  # parts whose codes are over names of their own
        self._rows = 0

    def add(self, part: pd.Series) -> None:
        text = pa.array(part, type=pa.large_string())
        self._waiting += [chunk.dictionary_encode() for chunk in getattr(text, "chunks", [text])]
        self._rows += len(part)
        if self._rows > max(4 * blockwise.BLOCK_ROWS, len(self.names)):  # each time, all names are looked at
            self._unify()

    def column(self) -> pd.Series:
        """All parts, one after the other; names in order of first appearance."""
        self._unify()
        names = pd.Index(self.names.to_pandas(), dtype="str")
        return pd.Series(pd.Categorical.from_codes(self.codes.array(), names, validate=False), copy=False)

    def _unify(self) -> None:
        so_far = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self.names)
        known, *fresh = pa.chunked_array([so_far, *self._waiting]).unify_dictionaries().chunks
        self.names = known.dictionary  # begins as before, so earlier codes stay right
        for chunk in fresh:
            self.codes.add(chunk.indices.to_numpy(zero_copy_only=False))
        self._waiting, self._rows = [], 0


def coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """(rows,) int codes, -1 where the value is missing, and the distinct values; not all of them need occur."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = cast("pd.Categorical[Any]", column.array)
        return values.codes, values.categories  # `column.cat.codes` would be a copy
    codes, names = pd.factorize(column)
    return codes, pd.Index(names)


def shared_codes(*columns: pd.Series) -> tuple[list[np.ndarray], pd.Index]:
    """Codes of several columns over one list of values: equal codes, equal values; -1 where missing."""
    found = [coded(column) for column in columns]
    shared = found[0][1]
    for _, names in found[1:]:
        if not _begins(shared, names):
            shared = shared.append(names[shared.get_indexer(names) < 0])
    codes = []
    for own, names in found:
        if _begins(shared, names):
            codes.append(own)  # as they are: nothing is copied
        else:
            shared_code = np.append(shared.get_indexer(names), -1).astype(np.int32)
            codes.append(looked_up(shared_code, own))
    return codes, shared


def by_appearance(column: pd.Series) -> np.ndarray:
    """(rows,) codes in order of first appearance: `pd.factorize(column)[0]`."""
    codes, names = coded(column)
    first = np.full(len(names) + 1, len(codes), dtype=np.int64)  # the last one is of missing values
    for block in reversed(list(slices(len(codes)))):
        first[codes[block][::-1]] = np.arange(block.stop - 1, block.start - 1, -1)
    order = np.argsort(first[:-1], kind="stable")
    if (order == np.arange(len(order))).all():
        return codes
    ranks = np.full(len(names) + 1, -1, dtype=np.int32)
    ranks[order] = np.arange(len(order))
    return looked_up(ranks, codes)


def without_unused(column: pd.Series) -> pd.Series:
    """`column.cat.remove_unused_categories()`"""
    codes, names = coded(column)
    used = tally(codes, len(names)) > 0
    if not used.all():
        renumbered = np.append(np.cumsum(used) - 1, -1).astype(np.int32)
        codes, names = looked_up(renumbered, codes), names[used]
    values = pd.Categorical.from_codes(codes, names, validate=False)
    return pd.Series(values, index=column.index, copy=False)


def _begins(names: pd.Index, beginning: pd.Index) -> bool:
    return names[: len(beginning)].equals(beginning)


def key_batches(*keys: np.ndarray, rows: int | None = None) -> Iterator[list[np.ndarray]]:
    """Row numbers of each of several key columns, in batches of about `rows`; no key is in two batches.

    Args:
        keys: (rows,) int codes of at least -1 each; equal codes mean the same key in every column.
        rows: of all columns together; a batch has more when one key has more.

    Yields:
        Row numbers per column; those of one key in ascending order.
    """
    rows = rows or BATCH_ROWS
    counts = np.zeros(max(int(column.max(initial=-1)) for column in keys) + 2, dtype=np.int64)  # by key + 1
    for column in keys:
        counts += np.bincount(column + 1, minlength=len(counts))
    batch = (np.cumsum(counts) - counts) // rows  # of each key, by the rows of smaller keys
    first_keys = np.flatnonzero(np.concatenate([[True], batch[1:] != batch[:-1]])) - 1  # of each batch
    parts = []
    for column in keys:
        order = np.argsort(column, kind="stable")
        begins = np.searchsorted(column, first_keys.astype(column.dtype), sorter=order)
        parts.append(np.split(order, begins[1:]))
    for batch_rows in zip(*parts, strict=True):
        yield list(batch_rows)


def repeated(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(rows,) bool: `frame.duplicated(columns, keep=False)`, batch by batch of the first column's values."""
    if pd.api.types.is_integer_dtype(frame[columns[0]]) and (np.diff(frame[columns[0]].to_numpy()) > 0).all():
        return np.zeros(len(frame), dtype=bool)  # row numbers: nothing to hash
    key = coded(frame[columns[0]])[0]
    coded_columns = _codes_of(frame, columns)
    found = np.zeros(len(frame), dtype=bool)
    for (rows,) in key_batches(key):
        batch = pd.DataFrame({name: column[rows] for name, column in coded_columns.items()})
        found[rows] = batch.duplicated(keep=False).to_numpy()
    return found


def repeated_in_runs(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(rows,) bool: `frame.duplicated(columns)`, where equal values of the first column are neighbours."""
    values = _codes_of(frame, columns)
    found = np.zeros(len(frame), dtype=bool)
    for rows in runs(values[columns[0]]):
        found[rows] = pd.DataFrame({name: column[rows] for name, column in values.items()}).duplicated()
    return found


def _codes_of(frame: pd.DataFrame, columns: list[str]) -> dict[str, np.ndarray]:
    """Columns as numbers: whole numbers as they are, else codes."""
    return {
        name: frame[name].to_numpy() if pd.api.types.is_integer_dtype(frame[name]) else coded(frame[name])[0]
        for name in columns
    }
