"""`train_rl` in several processes: the parent's side and a worker's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.backbone import Checkpoint
from rere.recommenders.base import Recommender
from rere.recommenders.item_models import KINDS, model_type
from rere.recommenders.sequential.base import SequentialRecommender
from rere.runtime import in_processes
from rere.runtime.launch import Log


def rl_in_processes(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    work: Path,
    log: Log,
    teacher: Recommender | None,
) -> Checkpoint:
    """See `train_rl`.

    Raises:
        RereError: a teacher that is no item model, or a process that failed.
    """
    spec: dict[str, Any] = {"start": str(start.path.resolve()), "teacher": None}
    if teacher is not None:
        if not isinstance(teacher, SequentialRecommender):
            raise RereError(
                f"a teacher that several processes can read ({', '.join(KINDS)})",
                type(teacher).__name__,
                "train with `processes: 1`, or with one of these",
            )
        spec["teacher"] = teacher.key
        teacher.save(work / "inputs" / "teacher")
    in_processes.run(f"{__name__}:worker", windows, catalog, config, work, spec, log)
    return Checkpoint(work / "model")


def worker(spec: dict[str, Any], windows: Windows, catalog: CatalogIndex, log: Log) -> None:
    from rere.training.rl.train import train_rl

    work, kind = Path(spec["work"]), spec["teacher"]
    teacher = None if kind is None else model_type(kind).load(work / "inputs" / "teacher")
    config = RLConfig.model_validate(spec["config"])
    train_rl(Checkpoint(Path(spec["start"])), windows, catalog, config, work, log, teacher)
