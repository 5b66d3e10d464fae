"""The gate's checks of a number against a limit: lists, catalogue, data, and what serving costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation import metrics
from rere.evaluation.gate_inputs import CandidateMetrics
from rere.evaluation.verdict import LATENCY, Check

DAY = 86_400


def no_faulty_slots(name: str, slots: np.ndarray, what: str) -> Check:
    """No list has a faulty slot; `slots` is the number of them per list."""
    found = int(slots.sum())
    return Check(
        name=name,
        value=found,
        threshold=0,
        passed=found == 0,
        explanation=f"{found} {what}, in {len(slots)} lists; none is allowed.",
    )


def coverage_kept(ours: pd.DataFrame, theirs: pd.DataFrame, items: int, config: GateConfig) -> Check:
    """The share of the catalogue that is in any list; `items` is the catalogue's size."""
    own, other = metrics.coverage(_top(ours, config), items), metrics.coverage(_top(theirs, config), items)
    least = config.minimum_coverage_ratio * other
    return Check(
        name="coverage kept",
        value=own,
        threshold=least,
        passed=own >= least,
        explanation=f"{own:.1%} of the catalogue is in someone's list, the champion's {other:.1%}; "
        f"at least {config.minimum_coverage_ratio:.0%} of that is asked.",
    )


def popularity_bias_kept(ours: pd.DataFrame, theirs: pd.DataFrame, counts: np.ndarray, config: GateConfig) -> Check:
    """The mean popularity percentile of the lists' items; `counts` (I,) are training interactions per item."""
    own = metrics.popularity_bias(_top(ours, config), counts)
    other = metrics.popularity_bias(_top(theirs, config), counts)
    most = other + config.maximum_popularity_rise
    return Check(
        name="popularity bias kept",
        value=own,
        threshold=most,
        passed=own <= most,
        explanation=f"The mean popularity percentile of what is shown is {own:.3f}, the champion's {other:.3f}; "
        f"a rise of at most {config.maximum_popularity_rise:.3f} is allowed.",
    )


def catalog_kept(own: int, champions: int, config: GateConfig) -> Check:
    """The catalogue has not shrunk much; both arguments are numbers of items."""
    least = config.minimum_catalog_ratio * champions
    return Check(
        name="catalogue kept",
        value=own,
        threshold=least,
        passed=own >= least,
        explanation=f"{own:,} items, the champion has {champions:,}; at least {config.minimum_catalog_ratio:.0%} of "
        "them are asked: fewer may be a feed that was cut short.",
    )


def latency_kept(own: float | None, champions: float | None, config: GateConfig) -> list[Check]:
    """The budget, which doesn't count on a machine where the champion exceeds it too; and the ratio to the champion."""
    budget = config.maximum_latency_ms
    assert own is not None  # it knows the items of the test rows
    if champions is None:
        return [within_budget(LATENCY, own, budget, "ms per request as it is served")]
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


def within_budget(name: str, value: float, most: float, unit: str) -> Check:
    """The value is at most `most`."""
    return Check(
        name=name,
        value=value,
        threshold=most,
        passed=value <= most,
        explanation=f"{value:,.1f} {unit}; at most {most:,.0f}.",
    )


def data_validated(warnings: tuple[str, ...], config: GateConfig) -> Check:
    """Few of the data validation's checks warned; errors would have stopped the run."""
    said = f": {', '.join(warnings)}" if warnings else ""
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return Check(
        name="data validated",
        value=len(warnings),
        threshold=config.maximum_warnings,
        passed=len(warnings) <= config.maximum_warnings,
        explanation=f"No error, {count}{said}; at most {config.maximum_warnings}.",
    )


def sound_rows(faulty: Mapping[str, float], config: GateConfig) -> Check:
    """Few prediction rows contradict their data; a model that is trained and evaluated on such rows proves nothing."""
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


def fresh_data(
    challenger: CandidateMetrics, champion: CandidateMetrics | None, now: float, config: GateConfig
) -> Check:
    """The data are not older than the champion's, with a tolerance, nor older than an age limit, if one is set."""
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


def _top(results: pd.DataFrame, config: GateConfig) -> np.ndarray:
    k = config.metric.rpartition("@")[2]
    return np.array(results["items"].tolist(), dtype=np.int64)[:, : int(k)]
