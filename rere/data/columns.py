"""Strict reading of ids, titles and times, the same for every source.

Times, the one rule: integers are seconds since 1970, or milliseconds when every value of the column is
at least 10^11; anything else must be an ISO 8601 date or time, UTC unless it states an offset.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from rere.errors import RereError

MILLISECONDS_FROM = 10**11  # the year 5138 in seconds, March 1973 in milliseconds
TIME_RULE = (
    "seconds since 1970, or milliseconds (every value at least 10^11), as whole numbers, or ISO 8601 text "
    "such as 2013-01-31T12:00:00"
)


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
    if pd.api.types.is_integer_dtype(column):
        text = column.astype("Int64").astype("str")
    elif pd.api.types.is_float_dtype(column):  # integers with gaps arrive as floats
        fractions = ~missing & (column != column.round())
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


def read_times(column: pd.Series, place: str, first_row: int = 0) -> np.ndarray:
    """(rows,) int64 milliseconds since 1970, by the one rule above.

    Args:
        place: column and file, for the message.
        first_row: the number that the message gives to the first row (2 for a CSV file's line).

    Raises:
        RereError: a missing or unreadable time, or seconds mixed with milliseconds, with an example row.
    """
    return _read_times(column, place, first_row)[0]


class TimeParts:
    """`read_times` of a column that comes in parts: each has to be of the first one's kind."""

    def __init__(self, place: str, first_row: int = 0) -> None:
        self.place, self.row = place, first_row
        self.kind, self.example = "", ""
        self.parts = [np.zeros(0, dtype=np.int64)]

    def add(self, part: pd.Series) -> None:
        """RereError as `read_times`, and for a part of another kind."""
        if not len(part):
            return
        milliseconds, kind = _read_times(part, self.place, self.row)
        example = f"{_example(part, 0)} in row {self.row} ({kind})"
        self.kind, self.example = self.kind or kind, self.example or example
        if kind != self.kind:
            raise RereError(
                f"one kind of time in {self.place}: {TIME_RULE}",
                f"{self.example} and {example}",
                "convert the column to one kind",
            )
        self.parts.append(milliseconds)
        self.row += len(part)

    def milliseconds(self) -> np.ndarray:
        """(rows,) int64 of all parts."""
        return np.concatenate(self.parts)


def _read_times(column: pd.Series, place: str, first_row: int) -> tuple[np.ndarray, str]:
    """(rows,) milliseconds, and the kind that they came in."""
    if pd.api.types.is_datetime64_any_dtype(column):
        _refuse_bad_times(column, column.isna(), place, first_row)
        moments = pd.to_datetime(column, utc=True)
    elif pd.api.types.is_bool_dtype(column):
        raise _wrong_type(column, column.notna(), place)
    else:
        if pd.api.types.is_numeric_dtype(column):
            _refuse_bad_times(column, column.isna() | (column != column.round()), place, first_row)
            numbers = column.astype("int64")
            return _numbers_to_milliseconds(numbers, place, first_row)
        text = column.astype("str").str.strip()
        digits = text.str.fullmatch(r"-?\d{1,18}(?:\.0+)?").fillna(False).astype(bool)
        if digits.any():
            _refuse_bad_times(column, ~digits, place, first_row)
            numbers = text.str.replace(r"\.0+$", "", regex=True).astype("int64")
            return _numbers_to_milliseconds(numbers, place, first_row)
        moments = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        _refuse_bad_times(column, moments.isna(), place, first_row)
    return moments.dt.tz_localize(None).astype("datetime64[ms]").astype("int64").to_numpy(), "dates"


def iso_seconds(text: str, setting: str) -> int:
    """Seconds since 1970 of an ISO date or time (UTC unless it says otherwise)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RereError(
            f"an ISO date such as 2013-01-31 in `{setting}`", repr(text), "correct it in the configuration"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _numbers_to_milliseconds(numbers: pd.Series, place: str, first_row: int) -> tuple[np.ndarray, str]:
    large = numbers >= MILLISECONDS_FROM
    if large.any() and not large.all():
        example = int(np.argmin(large.to_numpy() if large.iloc[0] else ~large.to_numpy()))
        raise RereError(
            f"one unit of time in {place}: {TIME_RULE}",
            f"seconds and milliseconds mixed: row {first_row} has {numbers.iloc[0]}, "
            f"row {first_row + example} has {numbers.iloc[example]}",
            "convert the column to one unit",
        )
    return (numbers.to_numpy(), "milliseconds") if large.any() else (numbers.to_numpy() * 1000, "seconds")


def _refuse_bad_times(column: pd.Series, bad: pd.Series, place: str, first_row: int) -> None:
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        raise RereError(
            f"a time in every row of {place}: {TIME_RULE}",
            f"{_example(column, row)} in row {first_row + row} ({int(bad.sum())} such rows)",
            "correct or remove those rows",
        )


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
