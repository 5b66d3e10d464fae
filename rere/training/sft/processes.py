"""`train_sft` in several processes: the inputs that are written for them, and read by each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rere.catalog.index import CatalogIndex
from rere.config.backbone import Backbone
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels
from rere.runtime import in_processes
from rere.runtime.launch import Log


def sft_in_processes(
    worker: str,
    windows: Windows,
    catalog: CatalogIndex,
    backbone: Backbone,
    config: SFTConfig,
    *,
    work: Path,
    log: Log,
    start: Checkpoint | None,
    teacher: ItemModels | None,
) -> Checkpoint:
    """Run `train_sft` in several processes; each calls `worker`, a `package.module:function`, with (spec, log)."""
    spec = {
        "backbone": backbone.model_dump(mode="json"),
        "start": None if start is None else str(start.path.resolve()),
        "taught": teacher is not None,
    }
    inputs: dict[str, in_processes.Saveable] = {"windows": windows, "catalog": catalog}
    if teacher is not None:
        inputs["teacher"] = teacher
    in_processes.run(worker, inputs, config, work, spec, log=log)
    return Checkpoint(work / "model")


def received(spec: dict[str, Any]) -> dict[str, Any]:
    """A worker's arguments of `train_sft`, except the log."""
    inputs = in_processes.inputs_of(spec)
    return {
        "windows": Windows.load(inputs / "windows"),
        "catalog": CatalogIndex.load(inputs / "catalog"),
        "backbone": TypeAdapter[Any](Backbone).validate_python(spec["backbone"]),
        "config": SFTConfig.model_validate(spec["config"]),
        "work": Path(spec["work"]),
        "start": None if spec["start"] is None else Checkpoint(Path(spec["start"])),
        "teacher": ItemModels.load(inputs / "teacher") if spec["taught"] else None,
    }
