"""May a challenger become champion? Checks, each with its number, its threshold and a sentence.

Challenger and champion are measured afresh on the same rows; old numbers are never compared. An interval speaks for
a check where rows are compared: accuracy and guard metrics must surely not be worse than allowed (the lower end); a
segment, whose rows are few, must not surely be worse (the upper end), nor must the model than an item model where the
settings ask for that.

One error rate for all: a challenger that is truly worse than allowed in the metric or in a guard passes with at most
the test's own error rate, since every one of them must pass (an intersection-union test; Berger, 1982). A segment
only refuses, so the segments share one error rate among them (Bonferroni): more segments refuse no more good models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.config.promotion import GateConfig
from rere.errors import RereError
from rere.evaluation import metrics
from rere.evaluation.better_rival import OverItemModel
from rere.evaluation.bootstrap import Estimate, paired_bootstrap
from rere.evaluation.evaluator import paired_values
from rere.evaluation.power import Power, clustered_error
from rere.evaluation.segments import segment_gains
from rere.recommenders.labels import Label

DAY = 86_400
NOT_WORSE = "not worse than the champion"
NOT_BEATEN = "no item model better"
LATENCY, SIZE = "latency", "size"
TAIL_SAMPLES = 20  # resamples beyond an interval's end, so that the end is more than an extreme of them


class Check(BaseModel):
    """One reason for or against.

    value: what `threshold` is held against; None where there is nothing to hold
    estimate: the gain itself, where `value` is an end of its interval
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    explanation: str
    estimate: float | None = None


class Verdict(BaseModel):
    """The gate's decision: passed when every check is. `power` is what the main check can see on these rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    checks: tuple[Check, ...]
    power: Power | None = None

    @classmethod
    def of(cls, checks: list[Check], power: Power | None = None) -> Verdict:
        return cls(passed=all(check.passed for check in checks), checks=tuple(checks), power=power)


@dataclass(frozen=True)
class CandidateMetrics:
    """A model as the gate sees it.

    results: rows of `evaluate`
    latency_ms: time of a single request as it is served; None where nothing could be asked of it
    mebibytes: its files
    newest: time of the newest interaction it learned from, seconds since 1970; None where that isn't on record
    items: how many its catalogue has
    """

    results: pd.DataFrame
    latency_ms: float | None
    mebibytes: float
    newest: int | None
    items: int


@dataclass(frozen=True)
class Anchor:
    """The best champion on record, against which losses add up: its version, and its results on the same rows."""

    version: str
    results: pd.DataFrame


@dataclass(frozen=True)
class GateContext:
    """What both models are judged in.

    popularity: results of the popularity baseline on the same rows
    training_counts: (I,) training interactions an item
    segments: as from `rere.evaluation.segments.segments`
    warnings: names of the data validation's and the split validation's checks that warned
    faulty: check of the split -> share of the prediction rows that fail it; none where all rows are sound
    now: seconds since 1970
    anchor: None where the champion is it, or there is none
    challengers: how many the present champion has met, this one included
    stand_in: results whose difference to the challenger's tells how much two models differ row by row where there is
        no champion, e.g. those of the model that RL began with
    item_model: the challenger against the best item model of the run; None where it has none
    """

    popularity: pd.DataFrame
    training_counts: np.ndarray
    segments: pd.DataFrame
    warnings: tuple[str, ...]
    faulty: Mapping[str, float]
    now: float
    anchor: Anchor | None = None
    challengers: int = 1
    stand_in: pd.DataFrame | None = None
    item_model: OverItemModel | None = None


def evaluate_gate(
    challenger: CandidateMetrics, champion: CandidateMetrics | None, given: GateContext, config: GateConfig
) -> Verdict:
    """Hold a challenger against popularity, the present champion and the budgets.

    Args:
        champion: None where there is none yet.

    Raises:
        RereError: results on other rows than the challenger's, an unknown metric, or lists too short for it.
    """
    ours = challenger.results
    checks = [
        _none("no invalid items", ours["invalid"].to_numpy(), "slots without an item of the catalogue"),
        _none("no duplicate items", ours["duplicate"].to_numpy(), "slots that repeat an item of the same list"),
        _beats_popularity(ours, given.popularity, config),
        *([_not_beaten(given.item_model, config)] if config.over_best_item_model == "refuse" else []),
        *(_against(challenger, champion, given, config) if champion is not None else [_no_champion(config)]),
        *([_total_loss(ours, given.anchor, config)] if given.anchor is not None else []),
        *_latency(challenger.latency_ms, None if champion is None else champion.latency_ms, config),
        _within(SIZE, challenger.mebibytes, config.maximum_mebibytes, "MiB of model files"),
        _validated(given.warnings, config),
        _sound_rows(given.faulty, config),
        _fresh(challenger, champion, given.now, config),
    ]
    rival = given.stand_in if champion is None else champion.results
    return Verdict.of(checks, None if rival is None else gate_power(ours, rival, config, given.challengers))


def surely_better(challenger: pd.DataFrame, rival: pd.DataFrame, config: GateConfig) -> bool:
    """Whether the interval of challenger - rival lies above zero."""
    return _gain(config.metric, challenger, rival, config).low > 0


def gate_power(ours: pd.DataFrame, theirs: pd.DataFrame, config: GateConfig, challengers: int = 1) -> Power | None:
    """What the test against the champion can see where two models differ as these do; None for a single user's rows."""
    values, others, rows = paired_values(ours, theirs, config.metric)
    users = rows["user_id"].to_numpy()
    if len(np.unique(users)) < 2:
        return None
    level = config.test.level(config.confidence, challengers)
    return Power(config.metric, clustered_error(values - others, users), config.test.threshold, level, len(ours))


def _against(
    challenger: CandidateMetrics, champion: CandidateMetrics, given: GateContext, config: GateConfig
) -> list[Check]:
    ours, theirs = challenger.results, champion.results
    checks = [
        _tested(ours, theirs, given.challengers, config),
        *(
            _holds(f"{guard} not worse", guard, ours, theirs, -config.guard_margin, config=config)
            for guard in config.guards
        ),
        _catalog_kept(challenger.items, champion.items, config),
    ]
    counts = given.training_counts

    def both(measure: Callable[[np.ndarray], float]) -> tuple[float, float]:
        return measure(_top(ours, config)), measure(_top(theirs, config))

    own, other = both(lambda items: metrics.coverage(items, len(counts)))
    least = config.minimum_coverage_ratio * other
    checks.append(
        Check(
            name="coverage kept",
            value=own,
            threshold=least,
            passed=own >= least,
            explanation=f"{own:.1%} of the catalogue is in someone's list, the champion's {other:.1%}; "
            f"at least {config.minimum_coverage_ratio:.0%} of that is asked.",
        )
    )
    own, other = both(lambda items: metrics.popularity_bias(items, counts))
    most = other + config.maximum_popularity_rise
    checks.append(
        Check(
            name="popularity bias kept",
            value=own,
            threshold=most,
            passed=own <= most,
            explanation=f"The mean popularity percentile of what is shown is {own:.3f}, the champion's {other:.3f}; "
            f"a rise of at most {config.maximum_popularity_rise:.3f} is allowed.",
        )
    )
    checks.append(_segments(ours, theirs, given.segments, config))
    return checks


def _top(results: pd.DataFrame, config: GateConfig) -> np.ndarray:
    k = config.metric.rpartition("@")[2]
    return np.array(results["items"].tolist(), dtype=np.int64)[:, : int(k)]


def _none(name: str, slots: np.ndarray, what: str) -> Check:
    found = int(slots.sum())
    return Check(
        name=name,
        value=found,
        threshold=0,
        passed=found == 0,
        explanation=f"{found} {what}, in {len(slots)} lists; none is allowed.",
    )


def _beats_popularity(challenger: pd.DataFrame, popularity: pd.DataFrame, config: GateConfig) -> Check:
    gain, least = _gain(config.metric, challenger, popularity, config), config.minimum_over_popularity
    return Check(
        name="better than popularity",
        value=gain.low,
        threshold=least,
        passed=gain.low > least,
        estimate=gain.mean,
        explanation=_sentence(config.metric, gain, Label.POPULARITY, config, f"must exceed {least:+.4f}"),
    )


def _not_beaten(found: OverItemModel | None, config: GateConfig) -> Check:
    """No item model surely ranks better. Whoever asks for that and judges none hasn't shown it."""
    if found is None:
        return Check(
            name=NOT_BEATEN,
            value=None,
            threshold=0.0,
            passed=False,
            explanation="No item model was judged on these rows. Name some in `item_models.rivals`.",
        )
    return Check(
        name=NOT_BEATEN,
        value=found.gain.high,
        threshold=0.0,
        passed=found.gain.high >= 0,
        estimate=found.gain.mean,
        explanation=f"{found.metric} minus that of {found.name}, the best item model, row by row: "
        f"{found.gain.mean:+.4f}, {config.confidence:.0%} interval [{found.gain.low:+.4f}, {found.gain.high:+.4f}]; "
        "its upper end must be at least 0.",
    )


def _tested(challenger: pd.DataFrame, champion: pd.DataFrame, challengers: int, config: GateConfig) -> Check:
    """The challenger against the champion by the test that the settings name."""
    test = config.test
    level = test.level(config.confidence, challengers)
    least_samples = math.ceil(TAIL_SAMPLES * 2 / (1 - level))
    asked = config.model_copy(
        update={"confidence": level, "bootstrap_samples": max(config.bootstrap_samples, least_samples)}
    )
    gain = _gain(config.metric, challenger, champion, asked)
    rule = (
        f"must exceed {test.threshold:+.4f}"
        if test.type == "superiority"
        else f"must be at least {test.threshold:+.4f}"
    )
    if test.type == "sequential":
        rule += f" (challenger {challengers} of this champion)"
    return Check(
        name="better than the champion" if test.type == "superiority" else NOT_WORSE,
        value=gain.low,
        threshold=test.threshold,
        passed=test.passes(gain.low),
        estimate=gain.mean,
        explanation=_sentence(config.metric, gain, "the champion", asked, rule),
    )


def _total_loss(challenger: pd.DataFrame, anchor: Anchor, config: GateConfig) -> Check:
    """Small losses that each pass must not add up: held against the best champion on record."""
    gain, least = _gain(config.metric, challenger, anchor.results, config), -config.maximum_total_loss
    rival = f"version {anchor.version}, the best champion on record"
    return Check(
        name="no creeping loss",
        value=gain.low,
        threshold=least,
        passed=gain.low >= least,
        estimate=gain.mean,
        explanation=_sentence(config.metric, gain, rival, config, f"must be at least {least:+.4f}"),
    )


def _catalog_kept(own: int, champions: int, config: GateConfig) -> Check:
    least = config.minimum_catalog_ratio * champions
    return Check(
        name="catalogue kept",
        value=own,
        threshold=least,
        passed=own >= least,
        explanation=f"{own:,} items, the champion has {champions:,}; at least {config.minimum_catalog_ratio:.0%} of "
        "them are asked: fewer may be a feed that was cut short.",
    )


def _holds(
    name: str, metric: str, challenger: pd.DataFrame, champion: pd.DataFrame, least: float, *, config: GateConfig
) -> Check:
    gain = _gain(metric, challenger, champion, config)
    return Check(
        name=name,
        value=gain.low,
        threshold=least,
        passed=gain.low >= least,
        estimate=gain.mean,
        explanation=_sentence(metric, gain, "the champion", config, f"must be at least {least:+.4f}"),
    )


def _no_champion(config: GateConfig) -> Check:
    return Check(
        name=NOT_WORSE,
        value=None,
        threshold=config.test.threshold,
        passed=True,
        explanation="There is no other champion to compare with.",
    )


def _segments(challenger: pd.DataFrame, champion: pd.DataFrame, marked: pd.DataFrame, config: GateConfig) -> Check:
    """The worst segment; those with few rows say nothing and are left out by name."""
    found = segment_gains(challenger, champion, marked, config)
    judged = {part: part.gain for part in found if part.gain is not None and part.rows >= config.minimum_segment_rows}
    left_out = [f"{part.name}: {part.rows}" for part in found if part not in judged]
    said = f" Too few rows to judge: {'; '.join(left_out)}." if left_out else ""
    name, least = "no segment worse", -config.segment_margin
    if not judged:
        return Check(name=name, value=None, threshold=least, passed=True, explanation=f"Nothing to compare.{said}")
    worst, gain = min(judged.items(), key=lambda pair: pair[1].high)
    return Check(
        name=name,
        value=gain.high,
        threshold=least,
        passed=gain.high >= least,
        estimate=gain.mean,
        explanation=f"The worst of {len(judged)} is {worst.name}, {worst.rows} rows: {config.metric} "
        f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]; the upper end must be at least {least:+.4f}.{said}",
    )


def _latency(own: float | None, champions: float | None, config: GateConfig) -> list[Check]:
    """The budget, which says nothing on a machine on which the champion fails it too; and the ratio to the champion."""
    budget = config.maximum_latency_ms
    assert own is not None  # it knows the items of the test rows
    if champions is None:
        return [_within(LATENCY, own, budget, "ms per request as it is served")]
    slow = champions > budget
    ratio, most = own / champions, config.maximum_latency_ratio
    return [
        Check(
            name=LATENCY,
            value=own,
            threshold=budget,
            passed=own <= budget or slow,
            explanation=f"{own:,.1f} ms per request as it is served; at most {budget:,.0f}."
            + (f" The champion takes {champions:,.1f} ms here too: the machine is slow or busy." if slow else ""),
        ),
        Check(
            name="latency kept",
            value=ratio,
            threshold=most,
            passed=ratio <= most,
            explanation=f"{ratio:.2f} times the champion's {champions:,.1f} ms, timed in turn; at most {most:g}.",
        ),
    ]


def _sound_rows(faulty: Mapping[str, float], config: GateConfig) -> Check:
    """Trained and judged on rows that their data don't have, a model's figures say nothing."""
    name, most = "sound prediction rows", config.maximum_faulty_rows
    if not faulty:
        return Check(name=name, value=0, threshold=most, passed=True, explanation="Every row passed its checks.")
    worst, share = max(faulty.items(), key=lambda pair: pair[1])
    return Check(
        name=name,
        value=share,
        threshold=most,
        passed=share <= most,
        explanation=f"{share:.1%} of the rows fail the check {worst!r} of the split; at most {most:.1%} may.",
    )


def _within(name: str, value: float, most: float, unit: str) -> Check:
    return Check(
        name=name,
        value=value,
        threshold=most,
        passed=value <= most,
        explanation=f"{value:,.1f} {unit}; at most {most:,.0f}.",
    )


def _validated(warnings: tuple[str, ...], config: GateConfig) -> Check:
    said = f": {', '.join(warnings)}" if warnings else ""
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return Check(
        name="data validated",
        value=len(warnings),
        threshold=config.maximum_warnings,
        passed=len(warnings) <= config.maximum_warnings,
        explanation=f"No error, {count}{said}; at most {config.maximum_warnings}.",
    )


def _fresh(challenger: CandidateMetrics, champion: CandidateMetrics | None, now: float, config: GateConfig) -> Check:
    """Not older than the champion's data, with a tolerance; and, where asked, not older than so many days."""
    newest = challenger.newest
    if newest is None:
        return Check(name="fresh data", value=None, threshold=None, passed=True, explanation="The data carry no times.")
    age = (now - newest) / DAY
    rival = champion.newest if champion is not None else None
    behind = 0.0 if rival is None else max(0.0, (rival - newest) / DAY)
    most = config.maximum_age_days
    rule = "no age limit set" if most is None else f"at most {most:g} days are allowed"
    return Check(
        name="fresh data",
        value=age,
        threshold=most,
        passed=behind <= config.maximum_days_behind and (most is None or age <= most),
        explanation=f"The newest training interaction is {age:,.1f} days old ({rule})"
        + (
            f" and {behind:,.1f} days older than the champion's; at most {config.maximum_days_behind:g} are allowed."
            if behind
            else "."
        ),
    )


def _gain(metric: str, challenger: pd.DataFrame, rival: pd.DataFrame, config: GateConfig) -> Estimate:
    values, others, rows = paired_values(challenger, rival, metric)
    length, k = min(len(frame["items"].iloc[0]) for frame in (challenger, rival)), metric.rpartition("@")[2]
    if k.isdecimal() and int(k) > length:
        raise RereError(f"lists of {k} items for {metric}", f"{length}", "raise `evaluation.beams`")
    units = rows["user_id"].to_numpy()
    return paired_bootstrap(values, others, config.bootstrap_samples, config.confidence, config.seed, units=units)


def _sentence(metric: str, gain: Estimate, rival: str, config: GateConfig, rule: str) -> str:
    return (
        f"{metric} minus that of {rival}, row by row: {gain.mean:+.4f}, {config.confidence:.0%} interval "
        f"[{gain.low:+.4f}, {gain.high:+.4f}]; its lower end {rule}."
    )
