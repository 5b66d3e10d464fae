"""A stage in several processes: what it needs goes to files, each process reads them and calls the stage's function.

Stages are named by import path, so that none depends on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rere.config.training import InProcesses
from rere.runtime.launch import Log
from rere.runtime.launchers.base import Launcher

INPUTS = "inputs"  # directory below the work directory


class Saveable(Protocol):
    """What can be written to a directory of its own, such as windows or a catalogue."""

    def save(self, directory: Path) -> None: ...


def run(
    worker: str,
    inputs: Mapping[str, Saveable],
    config: InProcesses,
    work: Path,
    spec: dict[str, Any],
    *,
    log: Log | None = None,
) -> None:
    """Call a worker in each of the processes that `config.launcher` starts, and wait.

    Args:
        worker: `package.module:function`, called with (spec, log); the spec then holds the settings (`config`) and the
            directory (`work`) as well.
        inputs: saved under `inputs_of(spec) / name`, from where the worker loads them.
        spec: JSON, whatever else the worker needs.

    Raises:
        RereError: see `Launcher.launch`.
    """
    for name, value in inputs.items():
        value.save(work / INPUTS / name)
    spec = {**spec, "config": config.model_dump(mode="json"), "work": str(work.resolve())}
    assert isinstance(config.launcher, Launcher)
    config.launcher.launch(worker, spec, work.resolve(), log)


def inputs_of(spec: Mapping[str, Any]) -> Path:
    """The directory that holds a worker's saved inputs."""
    return Path(spec["work"]) / INPUTS
