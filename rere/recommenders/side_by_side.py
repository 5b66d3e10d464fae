"""Item models fitted side by side: each worker takes the next one that nobody has taken.

A small network's training gains little from a second core, so two trainings beside each other take half the time of one
after the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
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
    data: FitData,
    settings: Mapping[str, Variant],
    config: ItemModelsConfig,
    work: Path,
    without: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> dict[str, ItemModel]:
    """Fit models that are made of no others, in the workers that `config.launcher` starts, at most one for each.

    Args:
        settings: by any name; the models that take longest had better stand first.
        without: by the same names, the arguments of `FitData.without` for models that aren't fitted on all data.
        work: directory; models that lie there whole are taken as they are.

    Returns:
        The models by name; nothing where the launcher starts no workers.

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
    models = {name: own.model_dump(mode="json") for name, own in settings.items()}
    spec = {"models": models, "without": dict(without)}
    in_processes.run(f"{__name__}:worker", {"data": data}, config, work, spec)
    return {name: model_type(own.type).load(work / name) for name, own in settings.items()}


def worker(spec: dict[str, Any], log: Log) -> None:
    """What each process does. One that finds nothing left waits for the others' files, however long: a collective would
    give up."""
    work, data = Path(spec["work"]), FitData.load(in_processes.inputs_of(spec) / "data")
    for name, settings in spec["models"].items():
        if not is_sealed(work / name) and _take(work / f"{name}.taken"):
            model, left_out = model_type(settings["type"]), spec["without"].get(name)
            own = data if left_out is None else data.without(*left_out)
            model.fit(own, model.config_type.model_validate(settings)).save(work / name)
    while not all(is_sealed(work / name) for name in spec["models"]):
        time.sleep(POLL_SECONDS)


def _take(mark: Path) -> bool:
    """Whether this process is the first."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
