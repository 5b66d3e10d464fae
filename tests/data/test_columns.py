"""Strict reading of ids."""

from __future__ import annotations

import pandas as pd
import pytest

from rere.data.columns import read_ids
from rere.errors import RereError


def test_ids_are_text_without_decimals() -> None:
    assert read_ids(pd.Series([1.0, None, 3.0]), "c").tolist() == ["1", "", "3"]
    assert read_ids(pd.Series([2**63 + 5, 7], dtype="uint64"), "c").tolist() == ["9223372036854775813", "7"]
    assert read_ids(pd.Series([2**63 + 5, None], dtype="UInt64"), "c").tolist() == ["9223372036854775813", ""]
    assert read_ids(pd.Series([7, 8]), "c").tolist() == ["7", "8"]
    assert read_ids(pd.Series([" a ", "NA", None]), "c").tolist() == ["a", "NA", ""]


@pytest.mark.parametrize(
    "given", [[1.5, 2.0], [1.0, float("inf")], [2.0**53], [True, False], [["a"], ["b"]], pd.to_datetime(["2001-01-01"])]
)
def test_ids_of_other_types_are_refused(given: list[object]) -> None:
    with pytest.raises(RereError, match="column 'user'"):
        read_ids(pd.Series(given), "column 'user'")
