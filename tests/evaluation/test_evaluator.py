"""Rows in, per-row results out, tables of means and of paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from rere.config.evaluation import EvaluationConfig
from rere.errors import RereError
from rere.evaluation.evaluator import compare, evaluate, summarise
from rere.recommenders.base import Ranking

CONFIG = EvaluationConfig(ks=(1, 3), beams=3, batch_prompts=1, bootstrap_samples=200)
INDEX = {"a": 0, "b": 1, "c": 2, "d": 3}
ROWS = pd.DataFrame(
    {
        "row_id": [4, 7, 9],
        "user_id": ["u", "v", "v"],
        "history": [["a"], ["b", "c"], ["c"]],
        "target": ["b", "a", "d"],
        "warm": [True, True, False],
    }
)


class Fixed:
    """Answers each history with a list of its own."""

    def __init__(self, name: str, answers: dict[tuple[int, ...], list[int]]) -> None:
        self.name, self.answers, self.calls = name, answers, 0

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        self.calls += 1
        items = np.array([self.answers[tuple(history)] for history in histories])
        return Ranking(items, np.tile(-np.arange(items.shape[1], dtype=np.float32), (len(items), 1)))


def good() -> Fixed:
    return Fixed("good", {(0,): [1, 2, 3], (1, 2): [3, 0, 1], (2,): [0, 1, 2]})  # ranks 1, 2, none


def bad() -> Fixed:
    return Fixed("bad", {(0,): [2, 2, 3], (1, 2): [3, 1, -1], (2,): [3, 9, 2]})  # ranks none, none, 1


def judged() -> pd.DataFrame:
    return pd.concat([evaluate(model, ROWS, INDEX, CONFIG) for model in (good(), bad())], ignore_index=True)


def test_each_row_keeps_what_was_answered() -> None:
    results = evaluate(good(), ROWS, INDEX, CONFIG)
    assert results["row_id"].tolist() == [4, 7, 9]
    assert results["target"].tolist() == [1, 0, 3]
    assert results["rank"].tolist() == [1, 2, 0]
    assert results["items"].tolist() == [[1, 2, 3], [3, 0, 1], [0, 1, 2]]
    assert results["scores"].tolist()[0] == [0, -1, -2]
    assert set(results["model"]) == {"good"}
    assert results["warm"].tolist() == [True, True, False]
    worse = evaluate(bad(), ROWS, INDEX, CONFIG)
    assert worse["invalid"].tolist() == [0, 1, 1]  # an empty slot; item 9 of a catalogue of 4
    assert worse["duplicate"].tolist() == [1, 0, 0]


def test_batches_change_nothing() -> None:
    rows = pd.concat([ROWS.assign(row_id=ROWS["row_id"] + 10 * n) for n in range(20)], ignore_index=True)
    model = good()
    results = evaluate(model, rows, INDEX, CONFIG)
    assert model.calls == 4  # 60 rows, 16 batches of one prompt per call
    assert results["rank"].tolist() == [1, 2, 0] * 20


def test_the_summary_by_hand() -> None:
    table = summarise(judged(), CONFIG, np.array([4, 3, 2, 1])).set_index(["model", "rows", "metric"])
    value = table["mean"]
    assert value["good", "all", "hr@1"] == pytest.approx(1 / 3)
    assert value["good", "all", "ndcg@3"] == pytest.approx((1 + 1 / math.log2(3)) / 3)
    assert value["good", "warm", "hr@3"] == 1
    assert value["bad", "warm", "hr@3"] == 0
    assert value["good", "all", "coverage@1"] == 3 / 4
    assert value["bad", "all", "invalid"] == pytest.approx(2 / 9)
    assert value["bad", "all", "duplicate"] == pytest.approx(1 / 9)
    assert value["good", "all", "popularity_bias@1"] == pytest.approx((5 / 8 + 1 / 8 + 7 / 8) / 3)
    assert table["n"]["good", "warm", "hr@1"] == 2
    low, high = table.loc[("good", "all", "hr@3"), ["low", "high"]]
    assert (low, high) == (0.5, 1.0)  # users u (1 of 1) and v (1 of 2): only v, or only u


def test_differences_are_paired_by_row() -> None:
    shuffled = judged().sample(frac=1, random_state=0)
    table = compare(shuffled, [("good", "bad")], CONFIG).set_index(["rows", "metric"])
    assert table.loc[("all", "hr@1"), "difference"] == pytest.approx(0)  # 1, 0, -1
    assert table.loc[("all", "hr@3"), "difference"] == pytest.approx(1 / 3)  # 1, 1, -1
    difference, low, high = table.loc[("warm", "hr@3"), ["difference", "low", "high"]]
    assert (difference, low, high) == (1, 1, 1)


def test_other_rows_are_refused() -> None:
    ours = evaluate(good(), ROWS, INDEX, CONFIG)
    theirs = evaluate(bad(), ROWS.assign(row_id=[4, 7, 8]), INDEX, CONFIG)
    with pytest.raises(RereError, match="good and bad judged on the same rows"):
        compare(pd.concat([ours, theirs]), [("good", "bad")], CONFIG)
    with pytest.raises(RereError, match="only: good"):
        compare(ours, [("good", "SASRec")], CONFIG)


def test_bad_rows_and_rankings_are_clear_errors() -> None:
    with pytest.raises(RereError, match="unknown item id 'z'"):
        evaluate(good(), ROWS.assign(target="z"), INDEX, CONFIG)
    with pytest.raises(RereError, match="at least one row"):
        evaluate(good(), ROWS[:0], INDEX, CONFIG)
    with pytest.raises(RereError, match="rankings of shape"):
        evaluate(Fixed("short", {(0,): [1], (1, 2): [1], (2,): [1]}), ROWS, INDEX, CONFIG)
