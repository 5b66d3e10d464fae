"""May a challenger become champion? A few checks, each with its number, its threshold and a sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.config import GateConfig
from rere.errors import RereError
from rere.evaluation.evaluator import paired
from rere.evaluation.metrics import row_metric
from rere.evaluation.significance import Estimate, paired_bootstrap


class Check(BaseModel):
    """One reason for or against. `value` is what `threshold` is held against."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    threshold: float
    passed: bool
    explanation: str


class Verdict(BaseModel):
    """The gate's decision: passed when every check is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    checks: tuple[Check, ...]


def judge(
    challenger: pd.DataFrame, champion: pd.DataFrame | None, popularity: pd.DataFrame, config: GateConfig
) -> Verdict:
    """Hold a challenger against popularity and the present champion, on the same rows.

    Args:
        challenger, champion, popularity: results of `evaluate`; no champion yet is None.

    Raises:
        RereError: results on other rows than the challenger's, an unknown metric, or lists too short for it.
    """
    checks = [
        _none("no invalid items", challenger["invalid"].to_numpy(), "slots without an item of the catalogue"),
        _none("no duplicate items", challenger["duplicate"].to_numpy(), "slots that repeat an item of the same list"),
        _beats_popularity(challenger, popularity, config),
    ]
    if champion is not None:
        checks.append(_holds_against(champion, challenger, config))
    else:
        checks.append(
            Check(
                name="not worse than the champion",
                value=0.0,
                threshold=config.minimum_gain,
                passed=True,
                explanation="There is no champion yet, so nothing was compared.",
            )
        )
    return Verdict(passed=all(check.passed for check in checks), checks=tuple(checks))


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
    gain = _gain(challenger, popularity, config)
    passed = gain.low > config.minimum_over_popularity
    return Check(
        name="better than popularity",
        value=gain.low,
        threshold=config.minimum_over_popularity,
        passed=passed,
        explanation=_sentence(gain, "popularity", config, f"must exceed {config.minimum_over_popularity:+.4f}"),
    )


def _holds_against(champion: pd.DataFrame, challenger: pd.DataFrame, config: GateConfig) -> Check:
    gain = _gain(challenger, champion, config)
    return Check(
        name="not worse than the champion",
        value=gain.low,
        threshold=config.minimum_gain,
        passed=gain.low >= config.minimum_gain,
        explanation=_sentence(gain, "the champion", config, f"must be at least {config.minimum_gain:+.4f}"),
    )


def _gain(challenger: pd.DataFrame, rival: pd.DataFrame, config: GateConfig) -> Estimate:
    ours, theirs = paired(challenger, rival)
    length, k = min(len(frame["items"].iloc[0]) for frame in (ours, theirs)), config.metric.rpartition("@")[2]
    if k.isdecimal() and int(k) > length:
        raise RereError(f"lists of {k} items for {config.metric}", f"{length}", "raise `evaluation.beams`")
    values, others = (row_metric(config.metric, frame["rank"].to_numpy()) for frame in (ours, theirs))
    units = ours["user_id"].to_numpy()
    return paired_bootstrap(values, others, config.bootstrap_samples, config.confidence, config.seed, units)


def _sentence(gain: Estimate, rival: str, config: GateConfig, rule: str) -> str:
    return (
        f"{config.metric} minus that of {rival}, row by row: {gain.mean:+.4f}, {config.confidence:.0%} interval "
        f"[{gain.low:+.4f}, {gain.high:+.4f}]; its lower end {rule}."
    )
