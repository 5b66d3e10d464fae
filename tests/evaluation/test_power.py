"""What the gate can see: the formula against drawn test sets, and hand-worked numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.gate_power import draw, power_table
from rere.config.promotion import GateConfig
from rere.errors import RereError
from rere.evaluation.bootstrap import bootstrap_mean
from rere.evaluation.power import Power, clustered_error, simulated


def test_the_error_of_one_row_per_user_is_the_plain_one() -> None:
    values = np.array([1.0, 0, 0, -1, 0, 1])
    assert clustered_error(values, np.arange(6)) == pytest.approx(values.std(ddof=1) / 6**0.5)


def test_rows_of_one_user_are_no_new_evidence() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=300)
    once, thrice = (
        clustered_error(values, np.arange(300)),
        clustered_error(np.repeat(values, 3), np.repeat(np.arange(300), 3)),
    )
    assert thrice == pytest.approx(once)
    users = random.integers(0, 60, 300)
    estimate = bootstrap_mean(values, 4000, 0.95, 0, users)
    assert clustered_error(values, users) == pytest.approx((estimate.high - estimate.low) / 3.92, rel=0.06)


def test_one_user_tells_nothing() -> None:
    with pytest.raises(RereError, match="at least two users"):
        clustered_error(np.ones(5), np.zeros(5))


def test_the_chances_of_known_models() -> None:
    power = Power("ndcg@10", error=0.00255, threshold=-0.005, confidence=0.95, rows=1000)
    assert power.passes(-0.005) == pytest.approx(0.025, abs=1e-4)  # worse by the margin: the error rate itself
    assert power.passes(0) == pytest.approx(0.5, abs=0.01)  # .005 / .00255 = 1.96: on the edge
    assert power.passes(power.needs(0.8)) == pytest.approx(0.8)
    assert power.rows_for(0, 0.8) == pytest.approx(1000 * (1.96 + 0.8416) ** 2 / 1.96**2, rel=0.01)
    assert power.rows_for(-0.005) == float("inf")
    assert Power("ndcg@10", 0.0, -0.005, 0.95, 10).passes(0) == 1


def test_the_sentence_warns_where_the_rows_are_too_few() -> None:
    few, many = Power("ndcg@10", 0.0041, -0.005, 0.95, 934), Power("ndcg@10", 0.00125, -0.005, 0.95, 9709)
    assert "passes with 23% probability" in few.sentence
    assert "it takes about 4,9" in few.sentence
    assert "passes with 98% probability" in many.sentence
    assert "too little" not in many.sentence


def test_what_the_guards_let_through_is_said_too() -> None:
    guards = tuple(Power("hr@10", error, -0.01, 0.95, 934) for error in (0.0118, 0.0025))
    said = Power("ndcg@10", 0.00125, -0.005, 0.95, 934, guards).sentence
    strict, wide = said.split("The guard ")[1:]
    assert strict.startswith("HR@10 asks as well (margin 0.01): an equal challenger passes it with 13% probability;")
    assert "for 80% it takes about 10,2" in strict
    assert wide == "HR@10 asks as well (margin 0.01): an equal challenger passes it with 98% probability."


def test_drawn_test_sets_agree_with_the_formula() -> None:
    random = np.random.default_rng(1)
    users = random.integers(0, 300, 1500)
    differences = random.normal(0, 0.2, 1500) + random.normal(0, 0.1, 300)[users]
    power = Power("ndcg@10", clustered_error(differences, users), -0.02, 0.95, 1500)
    truths = [-0.02, 0.0, 0.01]
    drawn = simulated(differences, users, power, truths, trials=3000)
    assert drawn == pytest.approx([power.passes(true) for true in truths], abs=0.03)
    smaller = simulated(differences, users, power, truths, rows=300)
    assert smaller[1] < drawn[1] - 0.1


def test_the_curve_is_drawn_for_several_sizes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def judged(model: str) -> pd.DataFrame:
        ranks = random.integers(0, 12, 600)
        return pd.DataFrame(
            {"row_id": np.arange(600), "user_id": np.arange(600) // 3, "model": model, "target": 0, "rank": ranks}
            | {"items": [[0] * 10] * 600}
        )

    table = power_table(judged("ReRe"), judged("SFT"), GateConfig(), [300, 600], trials=500)
    assert (table["formula"] - table["drawn"]).abs().max() < 0.08
    assert (table.groupby("rows")["formula"].apply(lambda column: column.is_monotonic_increasing)).all()
    draw(table, GateConfig(), tmp_path / "plots" / "power.svg")
    assert (tmp_path / "plots" / "power.svg").stat().st_size > 1000
