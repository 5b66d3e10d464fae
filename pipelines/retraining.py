"""A retraining from the question whether there is anything new to the gate's answer, as CI and people run it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import mlflow
from zenml.client import Client

from ops.registry import champion_record
from ops.registry import mlflow_registry as registry
from ops.retraining.base import base_of
from ops.retraining.outcome import Outcome, outcome_of
from ops.retraining.plan import Plan, make_plan
from ops.retraining.platform import placed
from ops.runtime.runs import COMPLETED, wait
from pipelines.checked import settings_of
from pipelines.retrain import retrain_pipeline
from pipelines.settings import RetrainSettings
from rere.errors import RereError
from rere.project import in_project

When = Literal["changed", "always"]


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
    return outcome_of(Client().get_pipeline_run(run.id), name, plan.reason, time.monotonic() - began)
