"""Strict reading of ids and titles, the same for every source (times: `rere.data.times`)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from rere.config.base import ColumnKind
from rere.errors import RereError

EXACT_FLOATS = 2.0**53  # beyond, neighbouring whole numbers are one double


def require_file(path: Path, role: str) -> Path:
    """The path, when a file is there; RereError otherwise."""
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no such file"
        raise RereError(f"the {role} file at {path}", found, "correct the path in the `source` setting")
    return path


def require_columns(there: Iterable[str], columns: list[str], where: str, remedy: str) -> None:
    """RereError naming the first column that is missing or given twice, the ones that are there, and what to do."""
    names = list(there)
    for column in columns:
        if column not in names:
            likely = [name for name in names if name.strip().lower() == column.lower()]
            likely = likely or difflib.get_close_matches(column, names, n=1)
            meant = f"; did you mean {likely[0]!r}?" if likely else ""
            raise RereError(
                f"a column {column!r} in {where}", f"the columns {', '.join(names)[:1000] or '(none)'}{meant}", remedy
            )
        if names.count(column) > 1:
            numbers = " and ".join(str(number) for number, name in enumerate(names, start=1) if name == column)
            raise RereError(
                f"one column {column!r} in {where}",
                f"{names.count(column)} of that name (columns {numbers})",
                "rename or remove the others",
            )


def read_ids(column: pd.Series, where: str, first_row: int = 0) -> pd.Series:
    """Ids as text: text as it is (stripped), whole numbers without a decimal point, missing ones as ''.

    Args:
        where: column and file, for the message.
        first_row: the number that the message gives to the first row.

    Raises:
        RereError: fractions, dates, lists or other types; numbers that a float can't tell from their neighbours.
    """
    missing = column.isna()
    if pd.api.types.is_bool_dtype(column):
        raise _wrong_type(column, ~missing, where, first_row)
    if pd.api.types.is_integer_dtype(column):
        text = column.astype("str")
    elif pd.api.types.is_float_dtype(column):  # integers with gaps arrive as floats
        fractions = ~missing & (column != column.round())
        if fractions.any():
            raise _wrong_type(column, fractions, where, first_row)
        limit = _exact_below(column)
        if (large := ~missing & (column.abs() >= limit)).any():
            row = int(np.argmax(large.to_numpy()))
            raise RereError(
                f"ids in {where} that are told apart: as floats ({column.dtype}), whole numbers are exact below "
                f"{limit:,} only",
                f"{shown_value(column, row)} in row {first_row + row} ({int(large.sum())} such rows)",
                "store the ids as text or as integers",
            )
        text = column.astype("Int64").astype("str")
    elif pd.api.types.is_string_dtype(column) or _all_text(column[~missing]):
        text = column.astype("str").str.strip()
    else:
        raise _wrong_type(column, ~missing, where, first_row)
    return text.mask(missing, "").astype("str")


def read_titles(column: pd.Series, where: str, first_row: int = 0) -> pd.Series:
    """Titles as text, missing ones as ''; RereError for any other type than text."""
    missing = column.isna()
    if not (pd.api.types.is_string_dtype(column) or _all_text(column[~missing])):
        raise _wrong_type(column, ~missing, where, first_row)
    return column.astype("str").mask(missing, "").astype("str")


def read_values(column: pd.Series, kind: ColumnKind, where: str, first_row: int = 0) -> pd.Series:
    """A further column: text as ids are read, numbers as float64; what is missing is '' or NaN.

    Raises:
        RereError: as `read_ids` of text; what is no finite number.
    """
    if kind == "text":
        return read_ids(column, where, first_row)
    missing = column.isna()
    if pd.api.types.infer_dtype(column) == "boolean":
        column = column.astype("boolean")  # 1 and 0
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.astype("Float64").astype("float64")
    elif pd.api.types.is_string_dtype(column) or _all_text(column[~missing]):
        text = column.astype("str").str.strip().mask(missing, "")
        missing = text == ""
        numbers = pd.to_numeric(text.mask(missing), errors="coerce").astype("float64")
    else:
        numbers = pd.Series(np.nan, index=column.index)
    wrong = ~missing.to_numpy(dtype=bool) & ~np.isfinite(numbers.to_numpy())
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RereError(
            f"numbers in {where}, or nothing where there is none",
            f"{shown_value(column, row)} in row {first_row + row} ({int(wrong.sum())} such rows)",
            "correct them, or keep the column as `text`",
        )
    return numbers


def _exact_below(column: pd.Series) -> int:
    """The first whole number that the column's floats don't tell from the next."""
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)
    return int(2 ** (np.finfo(dtype).nmant + 1))


def _all_text(values: pd.Series) -> bool:
    return all(isinstance(value, str) for value in values)


def _wrong_type(column: pd.Series, bad: pd.Series, where: str, first_row: int = 0) -> RereError:
    row = int(np.argmax(bad.to_numpy()))
    return RereError(
        f"text or whole numbers in {where}",
        f"type {column.dtype}, such as {shown_value(column, row)} in row {first_row + row}",
        "convert the column to text",
    )


def shown_value(column: pd.Series, row: int) -> str:
    """A value as an error shows it: NumPy's numbers as plain ones."""
    value = column.iloc[row]
    return repr(value.item() if isinstance(value, np.generic) else value)
