"""Strict reading of ids and times."""

from __future__ import annotations

import pandas as pd
import pytest

from rere.data.columns import iso_seconds, read_ids, read_times
from rere.errors import RereError


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [
        (["1000000000", "1000000001.0"], [1_000_000_000_000, 1_000_000_001_000]),
        ([1_000_000_000, 5], [1_000_000_000_000, 5_000]),
        ([1_000_000_000_123, 1_000_000_000_000], [1_000_000_000_123, 1_000_000_000_000]),
        (["2001-09-09T01:46:40", "2001-09-09T03:46:40+02:00"], [1_000_000_000_000] * 2),
        (["2001-09-09", "2001-09-09 01:46:40.5"], [999_993_600_000, 1_000_000_000_500]),
        (pd.to_datetime(["2001-09-09 01:46:40", "1970-01-01 00:00:00"]), [1_000_000_000_000, 0]),
    ],
)
def test_times(given: list[object], milliseconds: list[int]) -> None:
    assert read_times(pd.Series(given), "t").tolist() == milliseconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["1000000000", "yesterday"], "'yesterday' in row 3"),
        (["1000000000", ""], "'' in row 3"),
        ([1.5, 2.0], "1.5 in row 2"),
        ([1_000_000_000, 1_000_000_000_000], "seconds and milliseconds mixed"),
        (["2001-09-09", "2001-13-09"], "'2001-13-09' in row 3"),
        ([True, False], "bool"),
    ],
)
def test_bad_times_are_named(given: list[object], said: str) -> None:
    with pytest.raises(RereError, match=said) as error:
        read_times(pd.Series(given), "column 't' of file f.csv", first_row=2)
    assert "column 't' of file f.csv" in str(error.value)


def test_ids_are_text_without_decimals() -> None:
    assert read_ids(pd.Series([1.0, None, 3.0]), "c").tolist() == ["1", "", "3"]
    assert read_ids(pd.Series([7, 8]), "c").tolist() == ["7", "8"]
    assert read_ids(pd.Series([" a ", "NA", None]), "c").tolist() == ["a", "NA", ""]


@pytest.mark.parametrize("given", [[1.5, 2.0], [True, False], [["a"], ["b"]], pd.to_datetime(["2001-01-01"])])
def test_ids_of_other_types_are_refused(given: list[object]) -> None:
    with pytest.raises(RereError, match="column 'user'"):
        read_ids(pd.Series(given), "column 'user'")


def test_dates_in_settings() -> None:
    assert iso_seconds("1970-01-02", "since") == 86_400
    with pytest.raises(RereError, match="`since`"):
        iso_seconds("2 January", "since")
