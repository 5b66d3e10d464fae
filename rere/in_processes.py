"""Stages in several processes: what one needs goes to files, each process reads them and calls the stage's function.

The functions named after a stage are the parent's; `python -m rere.in_processes SPEC` is a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from rere import distributed
from rere.baselines.item_models import KINDS
from rere.baselines.sequential import SequentialRecommender
from rere.catalog.index import CatalogIndex
from rere.config import Backbone, EvaluationConfig, RLConfig, SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.recommender import Recommender
from rere.language_model import Checkpoint
from rere.launch import Log, launch
from rere.launch import work as take_part

MODULE = "rere.in_processes"  # not __name__: a worker runs this file as __main__


def sft(
    windows: Windows,
    catalog: CatalogIndex,
    backbone: Backbone,
    config: SFTConfig,
    work: Path,
    log: Log,
    start: Checkpoint | None,
) -> Checkpoint:
    """`train_sft` in `config.processes` processes."""
    spec = {
        "backbone": backbone.model_dump(mode="json"),
        "start": None if start is None else str(start.path.resolve()),
    }
    _run("sft", windows, catalog, config, work, spec, log)
    return Checkpoint(work / "model")


def rl(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    work: Path,
    log: Log,
    teacher: Recommender | None,
) -> Checkpoint:
    """`train_rl` in `config.processes` processes.

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
        spec["teacher"] = next(kind for kind, (model, _) in KINDS.items() if isinstance(teacher, model))
        teacher.save(work / "inputs" / "teacher")
    _run("rl", windows, catalog, config, work, spec, log)
    return Checkpoint(work / "model")


def evaluate(
    models: Mapping[str, Checkpoint], windows: Windows, catalog: CatalogIndex, config: EvaluationConfig, work: Path
) -> pd.DataFrame:
    """`evaluate` on the test rows for each model, by name, in `config.processes` processes."""
    spec = {"models": {name: str(model.path.resolve()) for name, model in models.items()}}
    _run("evaluate", windows, catalog, config, work, spec, None)
    table = pd.read_parquet(work / "results.parquet")
    return table.assign(**{name: [one.tolist() for one in table[name]] for name in ("items", "scores")})


def _run(
    stage: str,
    windows: Windows,
    catalog: CatalogIndex,
    config: SFTConfig | RLConfig | EvaluationConfig,
    work: Path,
    spec: dict[str, Any],
    log: Log | None,
) -> None:
    inputs = work / "inputs"
    windows.save(inputs / "windows")
    catalog.save(inputs / "catalog")
    spec |= {"stage": stage, "config": config.model_dump(mode="json"), "work": str(work.resolve())}
    launch(MODULE, spec, config.processes, work, log)


# ---------------------------------------------------------------- a worker


def _worker(spec: dict[str, Any], log: Log) -> None:
    inputs = Path(spec["work"]) / "inputs"
    windows, catalog = Windows.load(inputs / "windows"), CatalogIndex.load(inputs / "catalog")
    {"sft": _sft, "rl": _rl, "evaluate": _evaluate}[spec["stage"]](spec, windows, catalog, log)


def _sft(spec: dict[str, Any], windows: Windows, catalog: CatalogIndex, log: Log) -> None:
    from rere.training.sft import train_sft

    backbone: Backbone = TypeAdapter(Backbone).validate_python(spec["backbone"])
    start = None if spec["start"] is None else Checkpoint(Path(spec["start"]))
    config = SFTConfig.model_validate(spec["config"])
    train_sft(windows, catalog, backbone, config, Path(spec["work"]), log, start)


def _rl(spec: dict[str, Any], windows: Windows, catalog: CatalogIndex, log: Log) -> None:
    from rere.training.rl import train_rl

    work, kind = Path(spec["work"]), spec["teacher"]
    teacher = None if kind is None else KINDS[kind][0].load(work / "inputs" / "teacher")
    config = RLConfig.model_validate(spec["config"])
    train_rl(Checkpoint(Path(spec["start"])), windows, catalog, config, work, log, teacher)


def _evaluate(spec: dict[str, Any], windows: Windows, catalog: CatalogIndex, log: Log) -> None:
    from rere.evaluation.evaluator import evaluate_checkpoints

    models = {name: Checkpoint(Path(place)) for name, place in spec["models"].items()}
    work = Path(spec["work"])
    table = evaluate_checkpoints(models, windows, catalog, EvaluationConfig.model_validate(spec["config"]), work)
    if distributed.is_main():
        table.to_parquet(work / "results.parquet", index=False)


if __name__ == "__main__":
    take_part(_worker)
