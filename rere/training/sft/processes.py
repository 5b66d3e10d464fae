"""`train_sft` in several processes: the parent's side and a worker's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rere.catalog.index import CatalogIndex
from rere.config.backbone import Backbone
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.backbone import Checkpoint
from rere.runtime import in_processes
from rere.runtime.launch import Log


def sft_in_processes(
    windows: Windows,
    catalog: CatalogIndex,
    backbone: Backbone,
    config: SFTConfig,
    work: Path,
    log: Log,
    start: Checkpoint | None,
) -> Checkpoint:
    """See `train_sft`."""
    spec = {
        "backbone": backbone.model_dump(mode="json"),
        "start": None if start is None else str(start.path.resolve()),
    }
    in_processes.run(f"{__name__}:worker", windows, catalog, config, work, spec, log)
    return Checkpoint(work / "model")


def worker(spec: dict[str, Any], windows: Windows, catalog: CatalogIndex, log: Log) -> None:
    from rere.training.sft.train import train_sft

    backbone: Backbone = TypeAdapter(Backbone).validate_python(spec["backbone"])
    start = None if spec["start"] is None else Checkpoint(Path(spec["start"]))
    config = SFTConfig.model_validate(spec["config"])
    train_sft(windows, catalog, backbone, config, Path(spec["work"]), log, start)
