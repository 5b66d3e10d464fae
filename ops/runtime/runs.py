"""Pipeline runs: find one, wait for it, and say how it ended."""

from __future__ import annotations

import time
from typing import Any

COMPLETED, FAILED, LATE = 0, 1, 2


def find(name: str) -> Any:
    """The run of that name or id; `latest` is the newest."""
    from zenml.client import Client

    if name == "latest":
        return Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
    return Client().get_pipeline_run(name)


def wait(name: str, timeout: float, interval: float) -> int:
    """Exit status for the run; prints its name, its status and the steps that failed."""
    until = time.monotonic() + timeout
    run = find(name)
    while not run.status.is_finished and time.monotonic() < until:
        time.sleep(interval)
        run = find(str(run.id))
    print(f"{run.name}: {run.status.value}")
    for step_name, step in run.steps.items():
        if step.status.is_failed:
            reason = f": {step.exception_info.traceback.strip().splitlines()[-1]}" if step.exception_info else ""
            print(f"  step {step_name} {step.status.value}{reason}")
    if not run.status.is_finished:
        print(f"Not finished after {timeout:.0f} s.")
        return LATE
    return COMPLETED if run.status.is_successful else FAILED
