"""Columns longer than memory: made a block of rows at a time, kept in temporary files, read by memory map.

A column of no more than `BLOCK_ROWS` stays in memory. The files have no names: they go with the last array that looks
at them, and with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import numpy as np
import pandas as pd

from rere.errors import RereError

BLOCK_ROWS = 1_000_000  # that are looked at together


class Column:
    """A column of numbers that comes in parts."""

    def __init__(self, dtype: np.dtype[Any] | type[np.generic]) -> None:
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._parts = [np.empty(0, self.dtype)]
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, part: np.ndarray) -> None:
        """RereError where the temporary directory has no room."""
        self._parts.append(np.ascontiguousarray(part, self.dtype))
        self._held += len(part)
        self.rows += len(part)
        if self._held > BLOCK_ROWS:
            self._write()

    def array(self) -> np.ndarray:
        """(rows,) all parts, one after the other; read-only where they are in a file."""
        if self._file is None:
            return np.concatenate(self._parts)
        self._write()
        return np.asarray(np.memmap(self._file, self.dtype, mode="r", shape=(self.rows,)))

    def _write(self) -> None:
        try:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 - it closes with the last map of it
            for part in self._parts:
                self._file.write(part.data if len(part) else b"")
            self._file.flush()
        except OSError as error:
            raise RereError(
                f"room for temporary files in {tempfile.gettempdir()}",
                str(error),
                "make some, or set TMPDIR to a directory on a larger disk",
            ) from error
        self._parts, self._held = self._parts[:1], 0


def slices(rows: int, least: int = 0) -> Iterator[slice]:
    """Neighbouring blocks of `BLOCK_ROWS`, or of `least`, where that is more."""
    step = max(BLOCK_ROWS, least)
    for low in range(0, rows, step):
        yield slice(low, min(low + step, rows))


def in_blocks(rows: int, dtype: np.dtype[Any] | type[np.generic], of: Callable[[slice], np.ndarray]) -> np.ndarray:
    """The column whose values for each block of `rows` rows are `of(block)`; these may be fewer than the rows."""
    column = Column(dtype)
    for block in slices(rows):
        column.add(of(block))
    return column.array()


def looked_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`table[codes]`"""
    return in_blocks(len(codes), table.dtype, lambda block: table[codes[block]])


def selected(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """`values[kept]`"""
    return in_blocks(len(kept), values.dtype, lambda block: values[block][kept[block]])


def tally(codes: np.ndarray, size: int) -> np.ndarray:
    """(size,) int64: how often each of the codes 0 to `size` - 1 occurs; -1 stands for nothing."""
    counts = np.zeros(size + 1, dtype=np.int64)
    for block in slices(len(codes), least=size):
        counts += np.bincount(codes[block].astype(np.int64) + 1, minlength=size + 1)
    return counts[1:]


def run_numbers(values: np.ndarray) -> np.ndarray:
    """(rows,) int32: 0 for the first values that are equal neighbours, 1 for the next ones, and so on."""
    column, number = Column(np.int32), 0
    for block in slices(len(values)):
        before = values[max(block.start - 1, 0) : block.stop - 1]
        before = before if block.start else np.r_[values[:1], before]
        numbers = number + np.cumsum(values[block] != before)
        number = int(numbers[-1])
        column.add(numbers)
    return column.array()


def runs(values: np.ndarray) -> Iterator[slice]:
    """Neighbouring blocks of at least `BLOCK_ROWS`, none of which ends between equal neighbours."""
    low = 0
    for block in slices(len(values)):
        while low < block.stop:
            high = block.stop
            ends = np.flatnonzero(values[high - 1 : high + BLOCK_ROWS] != values[high - 1])
            if not len(ends) and high + BLOCK_ROWS < len(values):
                break  # the run goes on in the next block
            high = high - 1 + int(ends[0]) if len(ends) else len(values)
            yield slice(low, high)
            low = high


def kept_rows(frame: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    """`frame[kept].reset_index(drop=True)`; categories and numbers in blocks."""
    if kept.all():
        return frame.reset_index(drop=True)
    return _of_columns(
        frame,
        lambda values: selected(values, kept),
        lambda column: column[kept],
    )


def taken_rows(frame: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """`frame.iloc[rows].reset_index(drop=True)`; categories and numbers in blocks."""
    return _of_columns(frame, lambda values: looked_up(values, rows), lambda column: column.iloc[rows])


def with_column(frame: pd.DataFrame, name: str, values: np.ndarray) -> pd.DataFrame:
    """`frame.assign(name=values)`, which would copy the values."""
    return pd.DataFrame({**{str(other): column for other, column in frame.items()}, name: values}, copy=False)


def _of_columns(
    frame: pd.DataFrame, of: Callable[[np.ndarray], np.ndarray], of_others: Callable[[pd.Series], pd.Series]
) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = of(cast("pd.Categorical[Any]", column.array).codes)  # `column.cat.codes` would be a copy
            columns[str(name)] = pd.Categorical.from_codes(codes, dtype=column.dtype, validate=False)
        elif isinstance(column.dtype, np.dtype) and column.dtype != object:
            columns[str(name)] = of(column.to_numpy())
        else:
            columns[str(name)] = of_others(column).array
    return pd.DataFrame(columns, copy=False)
