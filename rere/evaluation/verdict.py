"""The gate's verdict: its checks, each with its number, its threshold and a sentence."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from rere.evaluation.power import Power

NOT_WORSE = "not worse than the champion"
NOT_BEATEN = "no item model better"
LATENCY, SIZE = "latency", "size"


class Check(BaseModel):
    """One reason for or against.

    value: the number that is compared with `threshold`; None if there is nothing to compare
    estimate: the gain itself, if `value` is an end of its interval
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    explanation: str
    estimate: float | None = None


class Verdict(BaseModel):
    """The gate's decision: passed if every check passed. `power` is that of the main check on these rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    checks: tuple[Check, ...]
    power: Power | None = None

    @classmethod
    def of(cls, checks: list[Check], power: Power | None = None) -> Verdict:
        return cls(passed=all(check.passed for check in checks), checks=tuple(checks), power=power)
