"""Columns of text as integer codes: what sorting, joining and counting need at tens of millions of rows.

A category column keeps each distinct text once and a code per row; every function here takes plain text as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

BATCH_ROWS = 1_000_000  # rows that are looked at together


def category(column: pd.Series) -> pd.Series:
    """Text as a category column, names in order of first appearance; a category column as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    codes, names = pd.factorize(column)
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names, dtype="str")), index=column.index)


class TextCodes:
    """A text column that comes in parts, as one category column: the whole text is never held."""

    def __init__(self) -> None:
        self.parts = [pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.large_string()))]

    def add(self, part: pd.Series) -> None:
        text = pa.array(part, type=pa.large_string())
        self.parts += [chunk.dictionary_encode() for chunk in getattr(text, "chunks", [text])]

    def column(self) -> pd.Series:
        """All parts, one after the other, which this object forgets; names in order of first appearance."""
        whole = pa.chunked_array(self.parts).unify_dictionaries()
        self.parts = self.parts[:1]  # not held twice
        codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in whole.chunks])
        names = pd.Index(whole.chunk(0).dictionary.to_pandas(), dtype="str")
        return pd.Series(pd.Categorical.from_codes(codes, names))


def coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """(rows,) int codes, -1 where the value is missing, and the distinct values; not all of them need occur."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories
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
            codes.append(shared_code[own])
    return codes, shared


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


def repeated(frame: pd.DataFrame, columns: list[str], keep: str | bool = "first") -> np.ndarray:
    """(rows,) bool: `frame.duplicated(columns, keep)`, batch by batch of the first column's values."""
    if pd.api.types.is_integer_dtype(frame[columns[0]]) and (np.diff(frame[columns[0]].to_numpy()) > 0).all():
        return np.zeros(len(frame), dtype=bool)  # row numbers: nothing to hash
    key = coded(frame[columns[0]])[0]
    coded_columns = {
        name: frame[name].to_numpy() if pd.api.types.is_integer_dtype(frame[name]) else coded(frame[name])[0]
        for name in columns
    }
    found = np.zeros(len(frame), dtype=bool)
    for (rows,) in key_batches(key):
        batch = pd.DataFrame({name: column[rows] for name, column in coded_columns.items()})
        found[rows] = batch.duplicated(keep=keep).to_numpy()  # type: ignore[arg-type]
    return found
