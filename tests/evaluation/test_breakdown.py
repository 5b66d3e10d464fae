"""Parts of the rows, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rere.config.evaluation import EvaluationConfig
from rere.data.halves import selection_rows
from rere.evaluation.breakdown import FREQUENCY, HISTORY, breakdown


def test_rows_fall_into_parts_by_history_and_by_frequency() -> None:
    rows = pd.DataFrame(
        {"row_id": [7, 3, 5], "history": [["a"], ["a", "b", "c"], ["b"] * 12], "target": ["b", "new", "c"]}
    )
    results = pd.DataFrame(  # in another order than the rows
        {"row_id": [3, 5, 7], "user_id": ["u", "v", "w"], "model": ["m"] * 3, "rank": [1, 0, 3]}
    )
    found = breakdown(results, rows, {"b": 4, "c": 100}, EvaluationConfig(bootstrap_samples=100))
    values = {(row["by"], row["part"]): (row["n"], row["ndcg@10"]) for row in found.to_dict("records")}
    assert values == {
        (HISTORY, "1-2"): (1, pytest.approx(1 / np.log2(4))),
        (HISTORY, "3-4"): (1, 1.0),
        (HISTORY, "10 or more"): (1, 0.0),
        (FREQUENCY, "0"): (1, 1.0),
        (FREQUENCY, "1-4"): (1, pytest.approx(1 / np.log2(4))),
        (FREQUENCY, "100 or more"): (1, 0.0),
    }


def test_a_users_rows_stay_in_one_half_and_the_same_users_always_choose() -> None:
    users = [f"user {number % 7}" for number in range(30)]
    half = selection_rows(users)
    chosen = {user for user, inside in zip(users, half, strict=True) if inside}
    assert len(chosen) == 4  # of seven
    assert not chosen & {user for user, inside in zip(users, half, strict=True) if not inside}
    assert [user in chosen for user in reversed(users)] == selection_rows(users[::-1]).tolist()
    assert selection_rows(["only"]).tolist() == [True]
