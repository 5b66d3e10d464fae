"""Strict reading of ids, and the columns of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rere.data.columns import read_ids, require_columns
from rere.errors import RereError


def test_ids_are_text_without_decimals() -> None:
    assert read_ids(pd.Series([1.0, None, 3.0]), "c").tolist() == ["1", "", "3"]
    assert read_ids(pd.Series([7, 8]), "c").tolist() == ["7", "8"]
    assert read_ids(pd.Series([7, 2**64 - 1], dtype="uint64"), "c").tolist() == ["7", "18446744073709551615"]
    assert read_ids(pd.Series([7, None], dtype="UInt64"), "c").tolist() == ["7", ""]
    assert read_ids(pd.Series([2.0**53 - 1]), "c").tolist() == ["9007199254740991"]
    assert read_ids(pd.Series([" a ", "NA", None]), "c").tolist() == ["a", "NA", ""]


@pytest.mark.parametrize(
    ("given", "kind"), [([1.0, 2.0**53], "float64"), ([1.0, 2.0**24], "float32"), ([1.0, -np.inf], "float64")]
)
def test_ids_that_floats_cannot_tell_apart_are_refused(given: list[float], kind: str) -> None:
    with pytest.raises(RereError, match=rf"as floats \({kind}\).*in row 1 "):
        read_ids(pd.Series(given, dtype=kind), "c")


@pytest.mark.parametrize(
    "given", [[1.5, 2.0], [1.0, float("inf")], [True, False], [["a"], ["b"]], pd.to_datetime(["2001-01-01"])]
)
def test_ids_of_other_types_are_refused(given: list[object]) -> None:
    with pytest.raises(RereError, match="column 'user'"):
        read_ids(pd.Series(given), "column 'user'")


def test_columns_missing_and_given_twice() -> None:
    with pytest.raises(
        RereError, match="a column 'item_id' in f; got the columns ItemId, title; did you mean 'ItemId'"
    ):
        require_columns(["ItemId", "title"], ["item_id"], "f", "rename it")
    with pytest.raises(RereError, match=r"one column 'title' in f; got 2 of that name \(columns 2 and 3\)"):
        require_columns(["item_id", "title", "title"], ["item_id", "title"], "f", "rename it")
    require_columns(["item_id", "note", "note"], ["item_id"], "f", "rename it")  # what isn't used may repeat
