"""Runs that were killed, or stopped by Ctrl-C: ZenML would list them as running for ever.

A process that runs a pipeline holds a lease beside ZenML's local database. A run of ours that is unfinished, and older
than every process that still lives, has lost its own. A remote server is left alone: who runs there isn't known here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse, PipelineRunUpdate, StepRunUpdate
from zenml.utils.time_utils import utc_now

from rere.artifacts.manifest import writing
from rere.runtime.lease import Held, Lease

PIPELINES = ("rere_pipeline", "retrain_pipeline", "batch_pipeline", "tune_pipeline")
FOLDER = "rere-runs"


@contextmanager
def running() -> Iterator[None]:
    """Within it this process counts as one that runs a pipeline."""
    directory = _directory()
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lease = Lease(directory / f"{time.time():.6f}-{uuid.uuid4().hex[:8]}.lock")
        lease.take()
    try:
        yield
    finally:
        lease.release()


def close_dead() -> list[str]:
    """Let ZenML list the runs whose process is gone, and their steps, as failed; returns the runs' names."""
    if not Client().zen_store.is_local_store():
        return []
    oldest = min(_alive(), default=time.time())
    dead = [run for run in _unfinished() if run.pipeline is not None and run.pipeline.name in PIPELINES]
    dead = [run for run in dead if run.created.replace(tzinfo=UTC).timestamp() < oldest]
    for run in dead:
        _close(run)
    return [run.name for run in dead]


def _directory() -> Path:
    return Path(GlobalConfiguration().config_directory) / FOLDER


def _alive() -> list[float]:
    """When each process that lives began; what dead ones left is removed."""
    began = []
    for path in sorted(_directory().glob("*.lock")):
        lease = Lease(path)
        try:
            lease.take()
        except Held:
            began.append(float(path.name.partition("-")[0]))
        else:
            lease.release()
    return began


def _unfinished() -> list[PipelineRunResponse]:
    return list(Client().list_pipeline_runs(in_progress=True, size=100, hydrate=True).items)


def _close(run: PipelineRunResponse) -> None:
    store, status = Client().zen_store, ExecutionStatus.FAILED
    for step in run.steps.values():
        if not step.status.is_finished:
            store.update_run_step(step.id, StepRunUpdate(status=status, end_time=utc_now()))
    store.update_run(run.id, PipelineRunUpdate(status=status, status_reason="its process is gone"))
