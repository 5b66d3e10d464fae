"""Each check of the gate, passing and failing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rere.config.promotion import GateConfig, NonInferiority, Sequential, Superiority
from rere.errors import RereError
from rere.evaluation import gate, verdict
from rere.evaluation.better_rival import OverItemModel, over_best_item_model
from rere.evaluation.gate_inputs import Anchor, CandidateMetrics, GateContext
from rere.evaluation.segments import segment_gains
from rere.evaluation.verdict import Check, Verdict

ROWS = 400
CONFIG = GateConfig(
    metric="hr@10",
    test=NonInferiority(margin=0.05),
    maximum_total_loss=0.05,
    guards=(),
    segment_margin=1,
    minimum_segment_rows=50,
    bootstrap_samples=500,
)
DAY = 86_400
NOW = 100 * DAY


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


def side(
    results: pd.DataFrame,
    latency_ms: float | None = 5,
    mebibytes: float = 1,
    newest: int | None = 90 * DAY,
    items: int = 20,
) -> CandidateMetrics:
    return CandidateMetrics(results, latency_ms, mebibytes, newest, items)


def verdict_of(
    challenger: CandidateMetrics,
    champion: CandidateMetrics | None = None,
    config: GateConfig = CONFIG,
    marked: dict[str, range] | None = None,
    warnings: tuple[str, ...] = (),
    popularity: pd.DataFrame = POPULARITY,
    faulty: dict[str, float] | None = None,
    anchor: Anchor | None = None,
    challengers: int = 1,
    stand_in: pd.DataFrame | None = None,
    item_model: OverItemModel | None = None,
) -> Verdict:
    places = {name: np.isin(np.arange(ROWS), rows) for name, rows in (marked or {}).items()}
    segments = pd.DataFrame(places, index=pd.Index(np.arange(ROWS), name="row_id"))
    given = GateContext(
        popularity=popularity,
        training_counts=np.arange(1, 21),
        segments=segments,
        warnings=warnings,
        faulty=faulty or {},
        now=NOW,
        anchor=anchor,
        challengers=challengers,
        stand_in=stand_in,
        item_model=item_model,
    )
    return gate.evaluate_gate(challenger, champion, given, config)


def judge(
    challenger: pd.DataFrame, champion: pd.DataFrame | None, popularity: pd.DataFrame, config: GateConfig
) -> Verdict:
    return verdict_of(side(challenger), None if champion is None else side(champion), config, popularity=popularity)


def check_of(verdict: Verdict, name: str) -> Check:
    (found,) = [check for check in verdict.checks if check.name == name]
    return found


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_good_model_passes_and_says_that_there_is_no_champion() -> None:
    verdict = judge(results("ReRe", 0.3), None, POPULARITY, CONFIG)
    assert verdict.passed
    assert "no other champion" in check_of(verdict, "not worse than the champion").explanation
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
    assert check_of(shuffled, "not worse than the champion").value == 0  # equal row by row, so no spread at all
    with pytest.raises(RereError, match="the same rows"):
        judge(results("ReRe", 0.3), champion[:-1], POPULARITY, CONFIG)
    with pytest.raises(RereError, match="the same rows"):
        judge(results("ReRe", 0.3), champion.assign(target=1), POPULARITY, CONFIG)


def test_lists_too_short_for_the_metric_are_refused() -> None:
    with pytest.raises(RereError, match="lists of 20 items"):
        judge(results("ReRe", 0.3), None, POPULARITY, GateConfig(metric="hr@20"))


def test_an_unknown_metric_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="metric"):
        GateConfig(metric="auc")
    with pytest.raises(RereError, match="a metric like"):
        judge(POPULARITY, results("champion", 0.1), POPULARITY, CONFIG.model_copy(update={"guards": ("auc",)}))


def test_equal_models_pass() -> None:
    verdict = judge(results("ReRe", 0.3), results("champion", 0.3), POPULARITY, GateConfig(metric="hr@10"))
    assert verdict.passed
    assert check_of(verdict, "hr@10 not worse").value == 0


def test_a_guard_metric_may_not_fall_while_the_main_one_stands() -> None:
    ours, theirs = results("ReRe", 0.3), results("champion", 0.3)
    theirs["rank"] = np.where(np.arange(ROWS) < 0.4 * ROWS, np.where(theirs["rank"] > 0, 1, 10), 0)  # 40 hits at 10
    config = CONFIG.model_copy(update={"metric": "hr@1", "guards": ("hr@10",), "guard_margin": 0.05})
    verdict = judge(ours, theirs, POPULARITY, config)
    assert failed(verdict) == ["hr@10 not worse"]  # -.1 ± .03
    assert not failed(judge(ours, theirs, POPULARITY, config.model_copy(update={"guard_margin": 0.15})))


def test_lists_may_not_shrink_to_fewer_or_more_popular_items() -> None:
    wide, narrow = results("champion", 0.3), results("ReRe", 0.3)
    wide["items"] = [list(np.roll(np.arange(20), row)[:10]) for row in range(ROWS)]  # all 20 items, percentile .5
    narrow["items"] = [list(range(10, 20))] * ROWS  # the ten most popular: half of them, percentile .75
    verdict = judge(narrow, wide, POPULARITY, CONFIG)
    assert failed(verdict) == ["coverage kept", "popularity bias kept"]
    coverage, bias = (check_of(verdict, name) for name in ("coverage kept", "popularity bias kept"))
    assert (coverage.value, coverage.threshold) == (0.5, 0.8)
    assert bias.value == pytest.approx(0.75)
    assert bias.threshold == pytest.approx(0.55)
    assert not failed(judge(wide, narrow, POPULARITY, CONFIG))


def test_the_worst_segment_speaks_and_small_ones_are_named_but_silent() -> None:
    ours, theirs = results("ReRe", 0.3), results("champion", 0.3)
    ours.loc[:59, "rank"] = 0  # 60 hits lost in the first 60 rows ...
    ours.loc[200:259, "rank"] = 1  # ... and won elsewhere: the mean stands
    config = CONFIG.model_copy(update={"segment_margin": 0.01, "test": NonInferiority(margin=0.2)})
    marked = {"new users": range(60), "heavy users": range(200, 400), "cold items": range(20)}
    verdict = verdict_of(side(ours), side(theirs), config, marked)
    worst = check_of(verdict, "no segment worse")
    assert failed(verdict) == ["no segment worse"]
    assert worst.value == -1
    assert "The worst of 2 is new users, 60 rows" in worst.explanation
    assert "Too few rows to judge: cold items: 20." in worst.explanation
    assert not failed(verdict_of(side(ours), side(theirs), config, {"heavy users": range(200, 400)}))


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ({"latency_ms": 10.1}, "latency kept"),
        ({"mebibytes": 5000.0}, "size"),
        ({"newest": 90 * DAY - 1}, "fresh data"),
        ({"items": 17}, "catalogue kept"),  # 90 % of 20 are asked
    ],
)
def test_budgets(measured: dict[str, Any], name: str) -> None:
    champion = side(results("champion", 0.3))
    assert failed(verdict_of(side(results("ReRe", 0.3), **measured), champion)) == [name]
    assert not failed(verdict_of(side(results("ReRe", 0.3)), champion))


def test_latency_is_held_against_the_champion_in_the_same_run() -> None:
    ours, theirs = results("ReRe", 0.3), results("champion", 0.3)
    assert failed(verdict_of(side(ours, latency_ms=1001))) == ["latency"]  # no champion: the budget alone
    assert failed(verdict_of(side(ours, latency_ms=1001), side(theirs, latency_ms=900))) == ["latency"]
    busy = verdict_of(side(ours, latency_ms=1422), side(theirs, latency_ms=1400))
    assert not failed(busy)
    assert "the machine is slow or busy" in check_of(busy, "latency").explanation
    assert check_of(busy, "latency kept").value == pytest.approx(1422 / 1400)
    assert failed(verdict_of(side(ours, latency_ms=2900), side(theirs, latency_ms=1400))) == ["latency kept"]
    assert failed(verdict_of(side(ours, latency_ms=1001), side(theirs, latency_ms=None))) == ["latency"]


def test_an_age_can_be_asked_and_data_without_times_have_none() -> None:
    config = CONFIG.model_copy(update={"maximum_age_days": 9.0})
    old = check_of(verdict_of(side(results("ReRe", 0.3)), config=config), "fresh data")
    assert (old.value, old.threshold, old.passed) == (10, 9, False)
    assert verdict_of(side(results("ReRe", 0.3), newest=None), config=config).passed


def test_warnings_of_the_data_count() -> None:
    many = tuple(f"check {n}" for n in range(6))
    assert failed(verdict_of(side(results("ReRe", 0.3)), warnings=many)) == ["data validated"]
    assert verdict_of(side(results("ReRe", 0.3)), warnings=many[:5]).passed


def test_a_model_of_faulty_prediction_rows_does_not_pass() -> None:
    good = side(results("ReRe", 0.3))
    assert verdict_of(good, faulty={"histories come before targets": 0.01}).passed
    refused = verdict_of(good, faulty={"each target once": 0.001, "histories come before targets": 0.834})
    assert failed(refused) == ["sound prediction rows"]
    assert "83.4% of the rows fail the check 'histories come before targets'" in refused.checks[-2].explanation


def test_older_data_than_the_champions_pass_within_the_tolerance() -> None:
    ours, theirs = side(results("ReRe", 0.3), newest=89 * DAY), side(results("champion", 0.3))
    config = CONFIG.model_copy(update={"maximum_days_behind": 1.0})
    assert not failed(verdict_of(ours, theirs, config))
    assert failed(verdict_of(side(results("ReRe", 0.3), newest=89 * DAY - 1), theirs, config)) == ["fresh data"]


def test_superiority_asks_for_more_than_an_equal_model() -> None:
    config = CONFIG.model_copy(update={"test": Superiority(type="superiority")})
    champion = side(results("champion", 0.3))
    assert failed(verdict_of(side(results("ReRe", 0.3)), champion, config)) == ["better than the champion"]
    assert not failed(verdict_of(side(results("ReRe", 0.35)), champion, config))  # .05 ± .02


def test_later_challengers_of_one_champion_are_asked_for_more() -> None:
    test = Sequential(type="sequential", margin=0.05)
    # the error rate of the first is 6 / pi^2 of 5 %, of the second a quarter of that; all of them sum to 5 %
    assert 1 - test.level(0.95, 1) == pytest.approx(0.05 * 0.6079, rel=1e-3)
    assert 1 - test.level(0.95, 2) == pytest.approx(0.05 * 0.6079 / 4, rel=1e-3)
    assert sum(1 - test.level(0.95, k) for k in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)
    ours, theirs = side(results("ReRe", 0.2775)), side(results("champion", 0.3))
    config = CONFIG.model_copy(update={"test": test})  # -.0225 ± .0145 at 95 %, ± .028 at 99.98 %
    assert not failed(verdict_of(ours, theirs, config, challengers=1))
    assert failed(verdict_of(ours, theirs, config, challengers=12)) == [verdict.NOT_WORSE]


def test_small_losses_that_each_pass_do_not_add_up() -> None:
    """Each night's challenger loses 8 of 400 hits: -.02 ± .014, within a margin of .05 of the champion before it."""

    def nights(with_anchor: bool) -> float:
        first = champion = results("champion", 0.6)
        for night in range(1, 11):
            challenger = results("ReRe", 0.6 - 0.02 * night)
            anchor = Anchor("1", first) if with_anchor and champion is not first else None
            if verdict_of(side(challenger), side(champion), anchor=anchor).passed:
                champion = challenger
            else:
                assert with_anchor
                break
        return float((champion["rank"] > 0).mean())

    assert nights(with_anchor=False) == pytest.approx(0.4)  # all ten pass
    assert nights(with_anchor=True) == pytest.approx(0.58)  # two would lose .04 ± .019, beyond .05
    check = check_of(
        verdict_of(side(results("ReRe", 0.56)), side(results("champion", 0.58)), anchor=Anchor("1", results("a", 0.6))),
        "no creeping loss",
    )
    assert not check.passed
    assert "version 1, the best champion on record" in check.explanation


@pytest.mark.parametrize("rule", ["off", "warn", "refuse"])
@pytest.mark.parametrize(("hits", "surely_better"), [(0.29, False), (0.305, False), (0.4, True)])
def test_an_item_model_that_is_surely_better_refuses_where_that_is_asked(
    rule: Any, hits: float, surely_better: bool
) -> None:
    """Of 400 rows, two more hits (.005) may be chance; forty (.1 ± .03) are not."""
    ours, config = results("ReRe", 0.3), CONFIG.model_copy(update={"over_best_item_model": rule})
    found = over_best_item_model(ours, results("EASE", hits), config)
    verdict = verdict_of(side(ours), config=config, item_model=found)
    assert failed(verdict) == (["no item model better"] if rule == "refuse" and surely_better else [])
    assert ("no item model better" in [check.name for check in verdict.checks]) == (rule == "refuse")
    if rule == "refuse":
        check = check_of(verdict, "no item model better")
        assert "hr@10 minus that of EASE, the best item model" in check.explanation
        assert check.passed == (check.value is not None and check.value >= 0)


def test_where_no_item_model_was_judged_a_refusal_says_so() -> None:
    config = CONFIG.model_copy(update={"over_best_item_model": "refuse"})
    verdict = verdict_of(side(results("ReRe", 0.3)), config=config)
    assert failed(verdict) == ["no item model better"]
    assert "item_models.rivals" in check_of(verdict, "no item model better").explanation
    assert verdict_of(side(results("ReRe", 0.3))).passed


def test_the_verdict_says_what_the_gate_can_see() -> None:
    ours, theirs = results("ReRe", 0.3), results("champion", 0.3)
    theirs["rank"] = np.roll(theirs["rank"], 20)  # 20 hits won, 20 lost: sd .316, error .0158
    power = verdict_of(side(ours), side(theirs)).power
    assert power is not None
    assert power.error == pytest.approx((0.1 / 399) ** 0.5)
    guarded = CONFIG.model_copy(update={"guards": ("hr@10",), "guard_margin": 0.01})
    found = verdict_of(side(ours), side(theirs), guarded).power
    assert found is not None
    [guard] = found.guards
    assert (guard.metric, guard.threshold, guard.error) == ("hr@10", -0.01, power.error)  # hits are at the first rank
    assert Verdict.model_validate_json(Verdict.of([], found).model_dump_json()).power == found
    alone = verdict_of(side(ours), stand_in=theirs).power
    assert alone is not None
    assert alone.error == power.error
    assert verdict_of(side(ours)).power is None
    assert verdict_of(side(ours), side(ours)).power is None  # the same lists say nothing of other models


def test_segments_share_one_error_rate() -> None:
    """An equal model is refused by one of ten segments with at most 2.5 % probability, not ten times that."""
    random, refused = np.random.default_rng(0), 0
    marked = {f"segment {n}": range(40 * n, 40 * n + 40) for n in range(10)}
    config = CONFIG.model_copy(update={"segment_margin": 0.0, "minimum_segment_rows": 10, "bootstrap_samples": 400})
    for _ in range(60):
        ours, theirs = results("ReRe", 0.3), results("champion", 0.3)
        for frame in (ours, theirs):
            frame["rank"] = (random.random(ROWS) < 0.5).astype(int)
        segments = pd.DataFrame(
            {name: np.isin(np.arange(ROWS), rows) for name, rows in marked.items()},
            index=pd.Index(np.arange(ROWS), name="row_id"),
        )
        refused += any(
            part.gain is not None and part.gain.high < 0 for part in segment_gains(ours, theirs, segments, config)
        )
    assert refused <= 6  # of 60; each at its own 2.5 % would refuse 13
