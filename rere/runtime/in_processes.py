"""A stage in several processes: what it needs goes to files, each process reads them and calls the stage's function.

`python -m rere.runtime.in_processes SPEC` is such a process. Stages are named by import path, so that none depends on
another.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rere.catalog.index import CatalogIndex
from rere.config.training import InProcesses
from rere.data.dataset import Windows
from rere.runtime.launch import Log, launch
from rere.runtime.launch import work as take_part


def run(
    worker: str,
    windows: Windows,
    catalog: CatalogIndex,
    config: InProcesses,
    work: Path,
    spec: dict[str, Any],
    log: Log | None = None,
) -> None:
    """Call a worker in `config.processes` processes, and wait.

    Args:
        worker: `package.module:function`, called with (spec, windows, catalog, log); the spec then holds the settings
            (`config`) and the directory (`work`) as well.
        spec: JSON, whatever else the worker needs.

    Raises:
        RereError: see `launch`.
    """
    windows.save(work / "inputs" / "windows")
    catalog.save(work / "inputs" / "catalog")
    spec = {**spec, "worker": worker, "config": config.model_dump(mode="json"), "work": str(work.resolve())}
    launch("rere.runtime.in_processes", spec, config.processes, work, log)


def _worker(spec: dict[str, Any], log: Log) -> None:
    inputs = Path(spec["work"]) / "inputs"
    module, name = spec["worker"].split(":")
    function = getattr(importlib.import_module(module), name)
    function(spec, Windows.load(inputs / "windows"), CatalogIndex.load(inputs / "catalog"), log)


if __name__ == "__main__":
    take_part(_worker)
