"""Item models fitted side by side: each worker takes the next one that nobody has taken.

A small network's training gains little from a second core, so two trainings beside each other take half the time of one
after the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rere.artifacts.manifest import is_sealed
from rere.config.recommenders import ItemModelsConfig
from rere.config.variants import Variant
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.registry import model_type
from rere.runtime import in_processes
from rere.runtime.launch import Log
from rere.runtime.launchers.base import Launcher

POLL_SECONDS = 0.2


def fit_side_by_side(
    data: FitData, settings: Mapping[str, Variant], config: ItemModelsConfig, work: Path
) -> dict[str, ItemModel]:
    """Fit models that are made of no others, in the workers that `config.launcher` starts, at most one for each.

    Args:
        settings: by kind; the models that take longest had better stand first.
        work: directory; models that lie there whole are taken as they are.

    Returns:
        The models by kind; nothing where the launcher starts no workers.

    Raises:
        RereError: see `Launcher.launch`.
    """
    assert isinstance(config.launcher, Launcher)
    if config.launcher.on_gpus:  # one per GPU
        config = config.model_copy(update={"launcher": config.launcher.within_reach()})
    if not config.launcher.starts_workers:
        return {}
    for taken in work.glob("*.taken"):
        taken.unlink()
    spec = {"models": {kind: own.model_dump(mode="json") for kind, own in settings.items()}}
    in_processes.run(f"{__name__}:worker", {"data": data}, config, work, spec)
    return {kind: model_type(kind).load(work / kind) for kind in settings}


def worker(spec: dict[str, Any], log: Log) -> None:
    """What each process does. One that finds nothing left waits for the others' files, however long: a collective would
    give up."""
    work, data = Path(spec["work"]), FitData.load(in_processes.inputs_of(spec) / "data")
    for kind, settings in spec["models"].items():
        if not is_sealed(work / kind) and _take(work / f"{kind}.taken"):
            model = model_type(kind)
            model.fit(data, model.config_type.model_validate(settings)).save(work / kind)
    while not all(is_sealed(work / kind) for kind in spec["models"]):
        time.sleep(POLL_SECONDS)


def _take(mark: Path) -> bool:
    """Whether this process is the first."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
