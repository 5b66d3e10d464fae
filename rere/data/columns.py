"""Strict reading of ids and titles, the same for every source (times: `rere.data.times`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from rere.errors import RereError

EXACT_FLOATS = 2.0**53  # beyond, neighbouring whole numbers are one double


def require_file(path: Path, role: str) -> Path:
    """The path, when a file is there; RereError otherwise."""
    if not path.is_file():
        raise RereError(f"the {role} file at {path}", "no such file", "correct the path in the `source` setting")
    return path


def require_columns(there: Iterable[str], columns: list[str], place: str, remedy: str) -> None:
    """RereError naming the first missing column, the ones that are there, and what to do."""
    for column in columns:
        if column not in set(there):
            raise RereError(f"a column {column!r} in {place}", f"the columns {', '.join(there)}", remedy)


def read_ids(column: pd.Series, place: str, first_row: int = 0) -> pd.Series:
    """Ids as text: text as it is (stripped), whole numbers without a decimal point, missing ones as ''.

    Args:
        place: column and file, for the message.
        first_row: the number that the message gives to the first row.

    Raises:
        RereError: fractions, dates, lists or other types.
    """
    missing = column.isna()
    if pd.api.types.is_bool_dtype(column):
        raise _wrong_type(column, ~missing, place, first_row)
    if pd.api.types.is_integer_dtype(column):  # of any width, those above 2^63 too
        text = column.astype("str")
    elif pd.api.types.is_float_dtype(column):  # integers with gaps arrive as floats
        fractions = ~missing & ~((column == column.round()) & (column.abs() < EXACT_FLOATS))
        if fractions.any():
            raise _wrong_type(column, fractions, place, first_row)
        text = column.astype("Int64").astype("str")
    elif pd.api.types.is_string_dtype(column) or _all_text(column[~missing]):
        text = column.astype("str").str.strip()
    else:
        raise _wrong_type(column, ~missing, place, first_row)
    return text.mask(missing, "").astype("str")


def read_titles(column: pd.Series, place: str) -> pd.Series:
    """Titles as text, missing ones as ''; RereError for any other type than text."""
    missing = column.isna()
    if not (pd.api.types.is_string_dtype(column) or _all_text(column[~missing])):
        raise _wrong_type(column, ~missing, place)
    return column.astype("str").mask(missing, "").astype("str")


def _all_text(values: pd.Series) -> bool:
    return all(isinstance(value, str) for value in values)


def _wrong_type(column: pd.Series, bad: pd.Series, place: str, first_row: int = 0) -> RereError:
    row = int(np.argmax(bad.to_numpy()))
    return RereError(
        f"text or whole numbers in {place}",
        f"type {column.dtype}, such as {_example(column, row)} in row {first_row + row}",
        "convert the column to text",
    )


def _example(column: pd.Series, row: int) -> str:
    value = column.iloc[row]
    return repr(value.item() if isinstance(value, np.generic) else value)
