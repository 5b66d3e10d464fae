"""Histories as views: where each begins in a shared column of items, and how many items it has.

Ten items per history, copied, are ten times the interactions; a view is two numbers. To pandas it is a column whose
values are lists; to Arrow, a list view over a dictionary column.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, ExtensionDtype
from pandas.api.types import union_categoricals

from rere.data.codes import category

MISSING = -1  # the length of a history that isn't there
BLOCK = 10_000  # histories whose items are looked up together


class HistoryType(ExtensionDtype):
    """Lists of item ids, oldest first."""

    name = "history"
    type = list
    na_value = None

    @classmethod
    def construct_array_type(cls) -> builtins.type[Histories]:
        return Histories


class Histories(ExtensionArray):
    """N histories over one column of items, which all of its parts and copies share.

    items: (M,) item ids, as codes
    starts: (N,) int64, positions in `items`
    lengths: (N,) int32
    """

    def __init__(self, items: pd.Categorical[Any], starts: np.ndarray, lengths: np.ndarray) -> None:
        self.items = items
        self.starts = np.asarray(starts, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self._names: np.ndarray | None = None

    @classmethod
    def of(cls, column: pd.Series) -> Histories:
        """A column of lists (or of arrays) as views; a column of views as it is."""
        return column.array if isinstance(column.array, cls) else cls._from_sequence(column.tolist())

    @property
    def names(self) -> np.ndarray:
        """Item ids as Python texts, by code; made once, for this array and its parts."""
        if self._names is None:
            self._names = self.items.categories.to_numpy(dtype=object)
        return self._names

    def last(self, most: int) -> Histories:
        """The `most` latest items of each history."""
        over = np.maximum(self.lengths - most, 0)
        return self._part(self.starts + over, self.lengths - over)

    def save_as_arrow(self) -> pa.LargeListViewArray:
        items = pa.DictionaryArray.from_arrays(
            pa.array(self.items.codes), pa.array(self.items.categories, pa.large_string())
        )
        return pa.LargeListViewArray.from_arrays(
            pa.array(self.starts), pa.array(self.lengths.astype(np.int64)), items, mask=pa.array(self.isna())
        )

    @classmethod
    def from_arrow(cls, array: pa.LargeListViewArray) -> Histories:
        """What `save_as_arrow` gave; the items stay where Arrow keeps them, in a mapped file too."""
        items = array.values
        names = pd.Index(items.dictionary.to_pandas(), dtype="str")
        codes = pd.Categorical.from_codes(items.indices.to_numpy(), dtype=pd.CategoricalDtype(names), validate=False)
        lengths = array.sizes.to_numpy().astype(np.int32)
        if array.null_count:
            lengths[array.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return cls(codes, array.offsets.to_numpy(), lengths)

    # ------------------------------------------------------------ pandas' interface

    @property
    def dtype(self) -> HistoryType:
        return HistoryType()

    @property
    def nbytes(self) -> int:
        return self.starts.nbytes + self.lengths.nbytes + self.items.nbytes

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Any]:
        codes, names = self.items.codes, self.names
        for low in range(0, len(self), BLOCK):  # Python's numbers and texts are quick to walk and large to hold
            starts, lengths = self.starts[low : low + BLOCK], self.lengths[low : low + BLOCK]
            begin, end = int(starts.min()), int((starts + lengths).max())
            near = end - begin <= 4 * BLOCK + int(lengths.sum())  # neighbours share items, mostly
            texts = names[codes[begin:end]].tolist() if near else []
            for start, length in zip((starts - begin).tolist(), lengths.tolist(), strict=True):
                if length < 0:
                    yield None
                elif near:
                    yield texts[start : start + length]
                else:
                    yield names[codes[begin + start : begin + start + length]].tolist()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            start, length = int(self.starts[key]), int(self.lengths[key])
            return None if length < 0 else self.names[self.items.codes[start : start + length]].tolist()
        key = pd.api.indexers.check_array_indexer(self, key)
        return self._part(self.starts[key], self.lengths[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        """Replace some histories; the new ones' items are added to the shared column (of this array alone)."""
        positions = np.atleast_1d(np.arange(len(self))[key])
        rows = [value] * len(positions) if isinstance(key, int | np.integer) else list(value)
        both = self._concat_same_type([self, self._from_sequence(rows)])
        starts, lengths = both.starts[: len(self)], both.lengths[: len(self)]
        starts[positions], lengths[positions] = both.starts[len(self) :], both.lengths[len(self) :]
        self.items, self.starts, self.lengths, self._names = both.items, starts, lengths, None

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        lists = np.empty(len(self), dtype=object)  # an array of lists, even where all are of one length
        for n, history in enumerate(self):
            lists[n] = history
        return lists

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Sequence | np.ndarray | ExtensionArray | pd.Series):
            return NotImplemented
        return np.array([mine == theirs for mine, theirs in zip(self, other, strict=True)], dtype=bool)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return self.save_as_arrow()

    def isna(self) -> np.ndarray:
        return self.lengths < 0

    def copy(self) -> Histories:
        return self._part(self.starts.copy(), self.lengths.copy())

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Histories:
        take: Any = pd.api.extensions.take
        if not allow_fill:
            return self._part(take(self.starts, indices), take(self.lengths, indices))
        starts = take(self.starts, indices, allow_fill=True, fill_value=0)
        return self._part(starts, take(self.lengths, indices, allow_fill=True, fill_value=MISSING))

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Histories:
        rows = list(scalars)
        lengths = np.array([MISSING if row is None else len(row) for row in rows], dtype=np.int32)
        held = np.maximum(lengths, 0).astype(np.int64)
        flat = pd.Series([item for row in rows if row is not None for item in row], dtype="str")
        return cls(cast("pd.Categorical[Any]", category(flat).array), np.cumsum(held) - held, lengths)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Histories]) -> Histories:
        first = to_concat[0]
        lengths = np.concatenate([part.lengths for part in to_concat])
        if all(part.items is first.items for part in to_concat):
            return first._part(np.concatenate([part.starts for part in to_concat]), lengths)
        begins = np.cumsum([0, *(len(part.items) for part in to_concat)])
        starts = [part.starts + begin for part, begin in zip(to_concat, begins[:-1], strict=True)]
        return cls(union_categoricals([part.items for part in to_concat]), np.concatenate(starts), lengths)

    def _part(self, starts: np.ndarray, lengths: np.ndarray) -> Histories:
        part = Histories(self.items, starts, lengths)
        part._names = self._names
        return part
