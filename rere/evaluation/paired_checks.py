"""The gate's checks that compare two models row by row, by an interval of the difference.

Accuracy and guard metrics must surely not be worse than allowed: the lower end of the interval counts. A segment, which
has few rows, must not surely be worse: the upper end counts.
"""

from __future__ import annotations

import math

import pandas as pd

from rere.config.promotion import GateConfig
from rere.errors import RereError
from rere.evaluation.better_rival import OverItemModel
from rere.evaluation.bootstrap import Estimate, paired_bootstrap
from rere.evaluation.evaluator import paired_values
from rere.evaluation.gate_inputs import Anchor
from rere.evaluation.segments import segment_gains
from rere.evaluation.verdict import NOT_BEATEN, NOT_WORSE, Check
from rere.recommenders.labels import Label

TAIL_SAMPLES = 20  # resamples beyond an interval's end: enough that the end is not an extreme of the sample


def beats_popularity(challenger: pd.DataFrame, popularity: pd.DataFrame, config: GateConfig) -> Check:
    """Surely better than the popularity baseline by a minimum."""
    gain, least = paired_gain(config.metric, challenger, popularity, config), config.minimum_over_popularity
    return Check(
        name="better than popularity",
        value=gain.low,
        threshold=least,
        passed=gain.low > least,
        estimate=gain.mean,
        explanation=_sentence(config.metric, gain, Label.POPULARITY, config, f"must exceed {least:+.4f}"),
    )


def not_beaten_by_item_models(found: OverItemModel | None, config: GateConfig) -> Check:
    """No item model ranks surely better; fails if the run has no item model to compare with."""
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


def tested_against_champion(
    challenger: pd.DataFrame, champion: pd.DataFrame, challengers: int, config: GateConfig
) -> Check:
    """The challenger against the champion, by the configured test."""
    test = config.test
    level = test.level(config.confidence, challengers)
    least_samples = math.ceil(TAIL_SAMPLES * 2 / (1 - level))
    asked = config.model_copy(
        update={"confidence": level, "bootstrap_samples": max(config.bootstrap_samples, least_samples)}
    )
    gain = paired_gain(config.metric, challenger, champion, asked)
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


def total_loss(challenger: pd.DataFrame, anchor: Anchor, config: GateConfig) -> Check:
    """Small losses that each pass must not add up: a comparison with the best champion on record."""
    gain, least = paired_gain(config.metric, challenger, anchor.results, config), -config.maximum_total_loss
    rival = f"version {anchor.version}, the best champion on record"
    return Check(
        name="no creeping loss",
        value=gain.low,
        threshold=least,
        passed=gain.low >= least,
        estimate=gain.mean,
        explanation=_sentence(config.metric, gain, rival, config, f"must be at least {least:+.4f}"),
    )


def metric_kept(
    name: str, metric: str, challenger: pd.DataFrame, champion: pd.DataFrame, least: float, *, config: GateConfig
) -> Check:
    """Another metric, surely at least `least` above the champion's."""
    gain = paired_gain(metric, challenger, champion, config)
    return Check(
        name=name,
        value=gain.low,
        threshold=least,
        passed=gain.low >= least,
        estimate=gain.mean,
        explanation=_sentence(metric, gain, "the champion", config, f"must be at least {least:+.4f}"),
    )


def no_champion(config: GateConfig) -> Check:
    """Passes: there is no champion to compare with."""
    return Check(
        name=NOT_WORSE,
        value=None,
        threshold=config.test.threshold,
        passed=True,
        explanation="There is no other champion to compare with.",
    )


def segments_kept(challenger: pd.DataFrame, champion: pd.DataFrame, marked: pd.DataFrame, config: GateConfig) -> Check:
    """The worst segment; segments with too few rows are left out, and named."""
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


def paired_gain(metric: str, challenger: pd.DataFrame, rival: pd.DataFrame, config: GateConfig) -> Estimate:
    """The mean difference challenger - rival with its interval; raises RereError if lists are too short."""
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
