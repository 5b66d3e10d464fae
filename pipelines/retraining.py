"""A retraining from the question whether there is anything new to the gate's answer, as CI and people run it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import mlflow
from pydantic import BaseModel, ConfigDict
from zenml.client import Client
from zenml.models import PipelineRunResponse

from ops.registry import champion_log as champion
from ops.registry import mlflow_registry as registry
from ops.registry.stages import Promoted
from ops.runtime.reports import write_report
from ops.runtime.runs import COMPLETED, wait
from pipelines.checked import settings_of
from pipelines.retrain import retrain_pipeline
from pipelines.settings import RetrainSettings
from rere.errors import RereError
from rere.project import in_project
from steps.retraining import find_base, make_plan

When = Literal["changed", "always"]


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


def retrain(config: Path, when: When = "changed", timeout: float = 6 * 3600) -> Outcome:
    """Retrain where there is something new, wait for the run, and say how it ended.

    Args:
        when: always: also without anything new.
        timeout: seconds to wait for a run of a remote orchestrator.

    Raises:
        RereError: the run failed or didn't end in time; settings that are none.
    """
    began, config = time.monotonic(), config.resolve()
    with in_project():  # paths in the configuration are relative to its root
        return _retrain(config, when, timeout, began)


def _retrain(config: Path, when: When, timeout: float, began: float) -> Outcome:
    given = RetrainSettings(**settings_of(retrain_pipeline, config))
    name = given.promotion.model_name
    champion.repair(name)
    plan = make_plan(given.data, given.retrain, name, given.record(), find_base(name))
    if plan.type == "skip" and when == "changed":
        return Outcome(
            type="skipped",
            reasons=(plan.reason,),
            model=name,
            version=None,
            champion=registry.champion_version(name),
            why="",
            start="",
            new_interactions=0,
            value=None,
            run="",
            seconds=round(time.monotonic() - began, 1),
        )
    tracking = mlflow.get_tracking_uri()
    run = retrain_pipeline.with_options(config_path=str(config))()
    mlflow.set_tracking_uri(tracking)  # a local run forgets it
    if run is None or wait(str(run.id), timeout, 5) != COMPLETED:
        raise RereError(
            "a run that completes", f"{run.name if run else 'none'}, which didn't", "see its log; nothing was promoted"
        )
    return _outcome(Client().get_pipeline_run(run.id), name, plan.reason, time.monotonic() - began)


def _outcome(run: PipelineRunResponse, name: str, why: str, seconds: float) -> Outcome:
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
    warm = "start" in run.steps["index_items"].outputs
    start = _output(run, "index_items", "start") if warm else None
    return Outcome.model_validate(
        {
            "type": kind,
            "reasons": (promotion.waits,) if kind == "waiting" else refusals,
            "model": name,
            "version": promotion.version,
            "champion": registry.champion_version(name),
            "why": why,
            "start": f"{start.type} ({start.reason})" if start else "backbone",
            "new_interactions": _output(run, "collect", "collected").report.new,
            "value": promotion.value,
            "run": run.name,
            "seconds": round(seconds, 1),
        }
    )


def _output(run: PipelineRunResponse, step: str, name: str) -> Any:
    return run.steps[step].outputs[name][0].load()
