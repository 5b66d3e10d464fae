"""Each check of the gate, passing and failing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rere.config import GateConfig
from rere.errors import RereError
from rere.evaluation.gate import Verdict, judge

ROWS = 400
CONFIG = GateConfig(metric="hr@10", minimum_gain=-0.05, bootstrap_samples=500)


def results(name: str, hits: float) -> pd.DataFrame:
    """A model that hits in the first `hits` of its rows."""
    return pd.DataFrame(
        {
            "row_id": np.arange(ROWS),
            "user_id": [f"u{n}" for n in range(ROWS)],
            "model": name,
            "target": 0,
            "rank": np.where(np.arange(ROWS) < hits * ROWS, 1, 0),
            "items": [[0] * 10] * ROWS,
            "invalid": 0,
            "duplicate": 0,
        }
    )


POPULARITY = results("popularity", 0.1)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_good_model_passes_and_says_that_there_is_no_champion() -> None:
    verdict = judge(results("ReRe", 0.3), None, POPULARITY, CONFIG)
    assert verdict.passed
    assert "no champion yet" in verdict.checks[-1].explanation
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_the_explanation_holds_the_numbers() -> None:
    check = judge(results("ReRe", 0.3), None, POPULARITY, CONFIG).checks[2]
    # a gain in 80 of 400 rows: .2, sd .4, so .2 ± 1.96 · .4/20 = .2 ± .039
    assert check.value == pytest.approx(0.161, abs=0.008)
    assert "+0.2000" in check.explanation


@pytest.mark.parametrize(("column", "name"), [("invalid", "no invalid items"), ("duplicate", "no duplicate items")])
def test_one_bad_slot_fails(column: str, name: str) -> None:
    challenger = results("ReRe", 0.3)
    challenger.loc[17, column] = 1
    verdict = judge(challenger, None, POPULARITY, CONFIG)
    assert not verdict.passed
    assert failed(verdict) == [name]


def test_popularity_itself_does_not_pass() -> None:
    assert failed(judge(POPULARITY, None, POPULARITY, CONFIG)) == ["better than popularity"]


@pytest.mark.parametrize(
    ("hits", "passes"),
    [(0.3, True), (0.29, True), (0.27, True), (0.24, False)],  # -.01 ± .01; -.03 ± .017; -.06 ± .023
)
def test_a_champion_may_be_missed_by_the_margin_only(hits: float, passes: bool) -> None:
    verdict = judge(results("ReRe", hits), results("champion", 0.3), POPULARITY, CONFIG)
    assert verdict.passed == passes
    assert failed(verdict) == ([] if passes else ["not worse than the champion"])


def test_results_are_paired_by_row_id_and_never_across_rows() -> None:
    champion = results("champion", 0.3)
    shuffled = judge(results("ReRe", 0.3), champion.sample(frac=1, random_state=0), POPULARITY, CONFIG)
    assert shuffled.checks[-1].value == 0  # equal row by row, so no spread at all
    with pytest.raises(RereError, match="the same rows"):
        judge(results("ReRe", 0.3), champion[:-1], POPULARITY, CONFIG)
    with pytest.raises(RereError, match="the same rows"):
        judge(results("ReRe", 0.3), champion.assign(target=1), POPULARITY, CONFIG)


def test_lists_too_short_for_the_metric_are_refused() -> None:
    with pytest.raises(RereError, match="lists of 20 items"):
        judge(results("ReRe", 0.3), None, POPULARITY, GateConfig(metric="hr@20"))


def test_an_unknown_metric_is_a_clear_error() -> None:
    with pytest.raises(RereError, match="a metric like"):
        judge(POPULARITY, None, POPULARITY, GateConfig(metric="auc"))
