"""Histories as people and programs write them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rere.errors import RereError
from rere.serving.histories import read_history


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (["50", "Alien (1979)"], ["50", "Alien (1979)"]),
        ((50, np.int64(181)), ["50", "181"]),
        (np.array([50.0, 181.0, np.nan]), ["50", "181", ""]),
        (np.array(["50", None], dtype=object), ["50", ""]),
        ([2**63], [str(2**63)]),
        (["50", pd.NA, pd.NaT], ["50", "", ""]),
        ('["50", 181]', ["50", "181"]),
        ('["50", null]', ["50", ""]),
        ("['50', 181.0]", ["50", "181"]),
        ("['50' '181']", ["50", "181"]),  # as NumPy prints lists; Python would read one id, 50181
        ("[]", []),
        ([], []),
        (["50.0"], ["50.0"]),  # text is taken as it is
    ],
)
def test_lists(value: Any, entries: list[str]) -> None:
    assert read_history(value) == entries


def test_text_with_a_separator() -> None:
    assert read_history("50 181  7", " ") == ["50", "181", "7"]
    assert read_history("Alien|The Thing| ", "|") == ["Alien", "The Thing"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("50 181", r"got the text '50 181'.*users\.separator"),
        ("50", "got the text '50'"),
        ("{'50': 1}", "got the text"),
        ("[" * 5_000, "got the text"),
        ("", "got none"),
        (None, "got none"),
        (math.nan, "got none"),
        (50, "got 50"),
        (b"50", "got b'50'"),
        ({"50": 1}, "got {'50': 1}"),
        ([1.5], "ids or titles; got 1.5"),
        ([math.inf], "got inf"),
        ([2.0**53], "ids or titles"),
        ([True], "got True"),
        ([["50"]], r"got \['50'\]"),
        ([np.array(["50", "181"])], r"ids or titles; got array"),  # as Parquet's lists of lists come
        (np.array(50), r"got array\(50\)"),
        (pd.NA, "got none"),
    ],
)
def test_what_is_no_history_is_refused(value: Any, message: str) -> None:
    with pytest.raises(RereError, match=message):
        read_history(value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=ANYTHING, separator=st.none() | st.text(min_size=1, max_size=2))
def test_anything_is_read_as_text_entries_or_refused(value: Any, separator: str | None) -> None:
    try:
        entries = read_history(value, separator)
    except RereError:
        return
    assert all(isinstance(entry, str) for entry in entries)
