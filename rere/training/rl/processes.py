"""`train_rl` in several processes: the inputs that are written for them, and read by each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.recommenders.base import Recommender
from rere.recommenders.item_model import ItemModel
from rere.recommenders.registry import ITEM_MODELS, model_type
from rere.runtime import in_processes
from rere.runtime.launch import Log


def rl_in_processes(
    worker: str,
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    *,
    work: Path,
    log: Log,
    teacher: Recommender | None,
) -> Checkpoint:
    """Run `train_rl` in several processes; each calls `worker`, a `package.module:function`, with (spec, log).

    Raises:
        RereError: a teacher that is no item model, or a process that failed.
    """
    spec: dict[str, Any] = {"start": str(start.path.resolve()), "teacher": None}
    inputs: dict[str, in_processes.Saveable] = {"windows": windows, "catalog": catalog}
    if teacher is not None:
        if not isinstance(teacher, ItemModel):
            raise RereError(
                f"a teacher that several processes can read ({', '.join(ITEM_MODELS)})",
                type(teacher).__name__,
                "train with `launcher: local`, or with one of these",
            )
        spec["teacher"] = teacher.kind()
        inputs["teacher"] = teacher
    in_processes.run(worker, inputs, config, work, spec, log=log)
    return Checkpoint(work / "model")


def received(spec: dict[str, Any]) -> dict[str, Any]:
    """A worker's arguments of `train_rl`, except the log."""
    inputs, kind = in_processes.inputs_of(spec), spec["teacher"]
    return {
        "start": Checkpoint(Path(spec["start"])),
        "windows": Windows.load(inputs / "windows"),
        "catalog": CatalogIndex.load(inputs / "catalog"),
        "config": RLConfig.model_validate(spec["config"]),
        "work": Path(spec["work"]),
        "teacher": None if kind is None else model_type(kind).load(inputs / "teacher"),
    }
