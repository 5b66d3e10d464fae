"""Strict reading of times: units, notations, zones."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from rere.config.ingest import IngestConfig
from rere.data.ingest import ingest
from rere.data.sources.tables import Tables
from rere.data.times import iso_seconds, read_times
from rere.errors import RereError
from tests.data.helpers import START, write_tables

MOMENT = START * 1_000_000  # microseconds


@pytest.mark.parametrize(
    ("given", "microseconds"),
    [
        (["1000000000", "1000000001.0"], [MOMENT, MOMENT + 1_000_000]),
        ([-(10**17), -(10**17) - 1000], [-(10**14), -(10**14) - 1]),  # nanoseconds before 1970
        ([1_000_000_000, 5], [MOMENT, 5_000_000]),
        ([1_000_000_000_123, 1_000_000_000_000], [MOMENT + 123_000, MOMENT]),
        (["1000000000000001", "1000000000000000"], [MOMENT + 1, MOMENT]),
        (["1000000000000000001", "1000000000000002000"], [MOMENT, MOMENT + 2]),
        ([1_000_000_000_000_000_001], [MOMENT]),
        (["1e9", "1.0000000005E+9", "1000000000"], [MOMENT, MOMENT + 500_000, MOMENT]),
        ([1_000_000_000.25, 2.0], [MOMENT + 250_000, 2_000_000]),
        ([Decimal("1000000000.50")], [MOMENT + 500_000]),
        (["2001-09-09T01:46:40", "2001-09-09T03:46:40+02:00"], [MOMENT] * 2),
        (["2001-09-09", "2001-09-09 01:46:40.5"], [999_993_600_000_000, MOMENT + 500_000]),
        (pd.to_datetime(["2001-09-09 01:46:40", "1970-01-01 00:00:00"]), [MOMENT, 0]),
    ],
)
def test_times(given: list[object], microseconds: list[int]) -> None:
    assert read_times(pd.Series(given), "t").tolist() == microseconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["1000000000", "yesterday"], "'yesterday' .*in row 3"),
        (["1000000000", ""], "'' .*in row 3"),
        (["1e9", "1e999"], "'1e999' .*in row 3"),
        ([5.0, float("inf")], "inf .*in row 3"),
        ([5.0, None], "nan .*in row 3"),
        (["9" * 19], "'9999999999999999999' .*in row 2"),
        ([1_000_000_000, 1_000_000_000_000], "seconds and milliseconds mixed"),
        (["1000000000000000", "1000000000000"], "microseconds and milliseconds mixed"),
        (["2001-09-09", "2001-13-09"], "'2001-13-09' .*in row 3"),
        ([True, False], "bool"),
        (pd.Series([1.6e9], dtype="float32"), "float32"),
    ],
)
def test_bad_times_are_named(given: list[object], said: str) -> None:
    with pytest.raises(RereError, match=said) as error:
        read_times(pd.Series(given), "column 't' of file f.csv", first_row=2)
    assert "column 't' of file f.csv" in str(error.value)


def test_local_times_with_a_zone() -> None:
    # Berlin is at +2 in summer; on 2001-10-28 its 02:30 came twice, on 2001-03-25 never.
    local = ["2001-09-09 03:46:40", "2001-09-09 01:46:40Z", "2001-10-28 02:30:00", "2001-03-25 02:30:00"]
    utc = ["2001-09-09 01:46:40", "2001-09-09 01:46:40", "2001-10-28 00:30:00", "2001-03-25 01:00:00"]
    expected = read_times(pd.Series(utc), "t").tolist()
    assert read_times(pd.Series(local), "t", zone="Europe/Berlin").tolist() == expected
    moments = pd.Series(pd.to_datetime([local[0], *local[2:]]))
    assert read_times(moments, "t", zone="Europe/Berlin").tolist() == [expected[0], *expected[2:]]
    assert read_times(moments.dt.tz_localize("UTC"), "t", zone="Europe/Berlin").tolist()[0] == MOMENT + 7_200_000_000


def test_a_sources_zone_is_a_setting(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\nu,a,2001-09-09 03:46:40\n"
    source = write_tables(tmp_path, text, "item_id,title\na,A\n")
    berlin = Tables.model_validate(source.model_dump() | {"time_zone": "Europe/Berlin"})
    assert ingest(IngestConfig(source=berlin, k_core=1)).interactions["timestamp"].tolist() == [START]
    with pytest.raises(ValidationError, match="Europe/Bärlin"):
        Tables.model_validate(source.model_dump() | {"time_zone": "Europe/Bärlin"})


def test_dates_in_settings() -> None:
    assert iso_seconds("1970-01-02", "since") == 86_400
    with pytest.raises(RereError, match="`since`"):
        iso_seconds("2 January", "since")
