"""Interactions as one sequence per user."""

from __future__ import annotations

import pandas as pd
import pytest

from rere.data.dataset import Dataset, IngestReport
from rere.data.sequences import training_sequences
from rere.errors import RereError

ROWS = [("u", "b", "train"), ("u", "a", "train"), ("u", "c", "test"), ("v", "c", "valid"), ("w", "a", "train")]


def dataset(rows: list[tuple[str, str, str]]) -> Dataset:
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "period"]).assign(timestamp=0)
    items = pd.DataFrame({"item_id": ["c", "a", "b"], "title": ["C", "A", "B"]})
    return Dataset(events, items, IngestReport(source="", source_sha256={}, read={}, dropped={}, kept={}))


def test_each_user_of_the_period_in_order() -> None:
    assert [sequence.tolist() for sequence in training_sequences(dataset(ROWS))] == [[2, 1], [1]]
    assert training_sequences(dataset([])) == []


def test_an_unknown_item_is_a_clear_error() -> None:
    with pytest.raises(RereError, match=r"unknown item ids \['z'\]"):
        training_sequences(dataset([*ROWS, ("u", "z", "train")]))
