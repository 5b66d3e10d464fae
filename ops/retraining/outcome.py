"""How a retraining ended, read from its run's artifacts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from zenml.models import PipelineRunResponse

from ops.registry import mlflow_registry as registry
from ops.registry.stages import Promoted
from ops.runtime.reports import write_report


class Outcome(BaseModel):
    """How a retraining ended; a run that failed is an error instead.

    skipped: nothing new; refused: the gate said no; waiting: a reviewer has the word; promoted: it is champion;
    unchanged: the very champion came out again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["skipped", "refused", "waiting", "promoted", "unchanged"]
    reasons: tuple[str, ...]  # why skipped, or what the gate said no to
    model: str
    version: str | None  # of this run
    champion: str | None  # afterwards
    why: str  # it ran
    start: str  # what training started from
    new_interactions: int
    value: float | None  # the gate's metric
    run: str
    seconds: float


def outcome_of(run: PipelineRunResponse, name: str, why: str, seconds: float) -> Outcome:
    """Of a run that completed; writes its pages to the reports directory."""
    promotion: Promoted = _output(run, "promote", "promotion")
    write_report(str(_output(run, "report", "report")), "report", "latest", run.name)  # a remote step's are elsewhere
    write_report(promotion.page, "review", run=run.name)
    if promotion.is_champion:
        kind = "unchanged"
    elif registry.CHAMPION in promotion.aliases:
        kind = "promoted"
    else:
        kind = "waiting" if promotion.verdict.passed else "refused"
    refusals = tuple(f"{check.name}: {check.explanation}" for check in promotion.verdict.checks if not check.passed)
    start = _output(run, "index_items", "start")
    return Outcome.model_validate(
        {
            "type": kind,
            "reasons": (promotion.waits,) if kind == "waiting" else refusals,
            "model": name,
            "version": promotion.version,
            "champion": registry.champion_version(name),
            "why": why,
            "start": f"{start.type} ({start.reason})",
            "new_interactions": _output(run, "collect", "collected").report.new,
            "value": promotion.value,
            "run": run.name,
            "seconds": round(seconds, 1),
        }
    )


def _output(run: PipelineRunResponse, step: str, name: str) -> Any:
    return run.steps[step].outputs[name][0].load()
