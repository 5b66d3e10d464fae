"""A retraining from the question whether there is anything new to the gate's answer, as CI and people run it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import mlflow
import yaml
from pydantic import BaseModel, ConfigDict
from zenml.client import Client
from zenml.models import PipelineRunResponse

from ops.registry import champion_record
from ops.registry import mlflow_registry as registry
from ops.registry.stages import Promoted
from ops.retraining.base import base_of
from ops.retraining.plan import Plan, make_plan
from ops.runtime.reports import write_report
from ops.runtime.runs import COMPLETED, wait
from pipelines.checked import settings_of
from pipelines.retrain import retrain_pipeline
from pipelines.settings import RetrainSettings
from rere.artifacts.manifest import writing
from rere.config.reading import read_yaml
from rere.errors import RereError
from rere.project import file_name, in_project, project_root

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


def retrain(config: Path, when: When = "changed", timeout: float = 6 * 3600, platform: Path | None = None) -> Outcome:
    """Retrain where there is something new, wait for the run, and say how it ended.

    Args:
        when: always: also without anything new.
        timeout: seconds to wait for a run of a remote orchestrator.
        platform: a run configuration all of which but `parameters` goes over that of `config`.

    Raises:
        RereError: the run failed or didn't end in time; settings that are none.
    """
    began, config = time.monotonic(), placed(config.resolve(), platform)
    with in_project():  # paths in the configuration are relative to its root
        return _retrain(config, when, timeout, began)


def planned(config: Path, platform: Path | None = None) -> Plan:
    """Whether a retraining would run, and why; changes nothing."""
    config = placed(config.resolve(), platform)
    with in_project():
        given = RetrainSettings(**settings_of(retrain_pipeline, config))
        name = given.promotion.model_name
        return make_plan(given.data, given.retrain, name, given.record(), base_of(name, given.retrain))


def placed(config: Path, platform: Path | None) -> Path:
    """The configuration with the platform's settings and steps, as a file below `.rere`; itself without a platform.

    Raises:
        RereError: both say something about the same key.
    """
    if platform is None:
        return config
    ours, theirs = read_yaml(config), read_yaml(platform.resolve())
    theirs.pop("parameters", None)
    if both := sorted(ours.keys() & theirs.keys()):
        raise RereError(
            f"one of {config} and {platform} to say each thing", f"{', '.join(both)} in both", "leave one out"
        )
    place = project_root() / ".rere" / "retrain" / f"{file_name(f'{config.stem} on {platform.stem}')}.yaml"
    with writing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(yaml.safe_dump(ours | theirs, sort_keys=False), encoding="utf-8")
    return place


def _retrain(config: Path, when: When, timeout: float, began: float) -> Outcome:
    given = RetrainSettings(**settings_of(retrain_pipeline, config))
    name = given.promotion.model_name
    champion_record.repair(name)
    plan = make_plan(given.data, given.retrain, name, given.record(), base_of(name, given.retrain))
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
