"""Strict reading of times, the same for every source.

The one rule: numbers count from 1970, in the one unit that their size tells for the whole column: seconds, from
10^11 on milliseconds, from 10^14 microseconds, from 10^17 nanoseconds (each is 1973 in its own unit and the year
5138 in the one before). Decimal and scientific notation are numbers too. Anything else must be an ISO 8601 date or
time; one without an offset is in the column's time zone, UTC unless a setting says otherwise.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from rere.data.blockwise import Column
from rere.data.columns import shown_value
from rere.errors import RereError

UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
UNIT_EDGES = np.array([10.0**11, 10.0**14, 10.0**17])  # from here on, the next unit
COARSE = ("float16", "float32", "Float32")
LARGEST = 2.0**63  # no time is as large
TIME_RULE = (
    "seconds since 1970, or milliseconds (every value at least 10^11), microseconds (10^14) or nanoseconds (10^17), "
    "as numbers, or ISO 8601 text such as 2013-01-31T12:00:00"
)
WHOLE = r"[+-]?\d{1,19}(?:\.0*)?"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
WITH_OFFSET = r".*\d[T ]\d.*(?:Z|z|[+-]\d{2}(?::?\d{2})?)"


def read_times(column: pd.Series, where: str, first_row: int = 0, zone: str = "UTC") -> np.ndarray:
    """(rows,) int64 microseconds since 1970, by the one rule above.

    Args:
        where: column and file, for the message.
        first_row: the number that the message gives to the first row (2 for a CSV file's line).
        zone: IANA name; where ISO times without an offset are local.

    Raises:
        RereError: a missing or unreadable time, or units mixed, with an example row.
    """
    return _read_times(column, where, first_row, zone)[0]


class TimeParts:
    """`read_times` of a column that comes in parts: each has to be of the first one's kind."""

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone
        self.kind, self.example = "", ""
        self.column = Column(np.int64)

    def add(self, part: pd.Series, where: str, first_row: int) -> None:
        """RereError as `read_times`, and for a part of another kind."""
        if not len(part):
            return
        microseconds, kind = _read_times(part, where, first_row, self.zone)
        example = f"{shown_value(part, 0)} in row {first_row} ({kind})"
        self.kind, self.example = self.kind or kind, self.example or example
        if kind != self.kind:
            raise RereError(
                f"one kind of time in {where}: {TIME_RULE}",
                f"{self.example} and {example}",
                "convert the column to one kind",
            )
        self.column.add(microseconds)

    def microseconds(self) -> np.ndarray:
        """(rows,) int64 of all parts."""
        return self.column.array()


def iso_seconds(text: str, setting: str) -> int:
    """Seconds since 1970 of an ISO date or time (UTC unless it says otherwise)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RereError(
            f"an ISO date such as 2013-01-31 in `{setting}`", repr(text), "correct it in the configuration"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _read_times(column: pd.Series, where: str, first_row: int, zone: str) -> tuple[np.ndarray, str]:
    """(rows,) microseconds, and the kind that they came in."""
    if pd.api.types.is_datetime64_any_dtype(column):
        _refuse(column, column.isna(), where, first_row)
        aware = getattr(column.dtype, "tz", None) is not None
        return _microseconds(column if aware else _local(column, zone)), "dates"
    if pd.api.types.is_bool_dtype(column):
        raise RereError(f"times in {where}: {TIME_RULE}", f"type {column.dtype}", "name the column of times")
    if pd.api.types.is_numeric_dtype(column):
        return _from_numbers(column, column, where, first_row)
    text = (column.map(str) if column.dtype == object else column).astype("str").str.strip()
    numeric = text.str.fullmatch(NUMBER).fillna(False).astype(bool)
    if not numeric.any():
        return _from_dates(column, text, where, first_row, zone), "dates"
    _refuse(column, ~numeric, where, first_row)
    if text.str.fullmatch(WHOLE).all():  # exactly: doubles have no room for nanoseconds
        whole = text.str.replace(r"\.0*$", "", regex=True)
        _refuse(column, whole.astype(np.float64).abs() >= LARGEST, where, first_row)
        return _from_numbers(column, whole.astype("int64"), where, first_row)
    return _from_numbers(column, text.astype(np.float64), where, first_row)


def _from_numbers(column: pd.Series, numbers: pd.Series, where: str, first_row: int) -> tuple[np.ndarray, str]:
    missing = numbers.isna()
    size = numbers.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse(column, pd.Series(missing.to_numpy() | ~(np.abs(size) < LARGEST)), where, first_row)
    if str(numbers.dtype) in COARSE:  # moments of today are two minutes apart there
        raise RereError(f"times exact to the second in {where}", f"type {numbers.dtype}", "store them as float64")
    unit = np.searchsorted(UNIT_EDGES, np.abs(size), side="right")
    if (other := unit != unit[0]).any():
        row = int(np.argmax(other))
        raise RereError(
            f"one unit of time in {where}: {TIME_RULE}",
            f"{UNITS[unit[0]]} and {UNITS[unit[row]]} mixed: row {first_row} has {numbers.iloc[0]}, "
            f"row {first_row + row} has {numbers.iloc[row]}",
            "convert the column to one unit",
        )
    kind = UNITS[unit[0]] if len(unit) else UNITS[0]
    times = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}.get(kind)
    if pd.api.types.is_integer_dtype(numbers):
        whole = numbers.astype("int64").to_numpy()
        return (whole * times if times else whole // 1_000), kind
    return np.round(size * times if times else size / 1_000).astype(np.int64), kind


def _from_dates(column: pd.Series, text: pd.Series, where: str, first_row: int, zone: str) -> np.ndarray:
    """Of ISO 8601 texts; those with an offset stand for themselves."""
    moments = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    _refuse(column, moments.isna(), where, first_row)
    if zone != "UTC":
        naive = ~text.str.fullmatch(WITH_OFFSET).fillna(False).astype(bool)
        moments[naive] = _local(moments[naive].dt.tz_localize(None), zone).dt.tz_convert("UTC")
    return _microseconds(moments)


def _local(moments: pd.Series, zone: str) -> pd.Series:
    """Of an hour that a change of clocks repeats, the first; of one that it skips, the moment after."""
    first = np.ones(len(moments), dtype=bool)
    return moments.dt.tz_localize(ZoneInfo(zone), ambiguous=first, nonexistent="shift_forward")


def _microseconds(moments: pd.Series) -> np.ndarray:
    return moments.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[us]").astype("int64").to_numpy()


def _refuse(column: pd.Series, bad: pd.Series, where: str, first_row: int) -> None:
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        raise RereError(
            f"a time in every row of {where}: {TIME_RULE}",
            f"{shown_value(column, row)} in row {first_row + row} ({int(bad.sum())} such rows)",
            "correct or remove those rows",
        )
