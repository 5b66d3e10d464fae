"""Judge trained models on the test rows, in one process or several.

Apart from the evaluator: what only ranks (item models) need not know how training runs in processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Windows
from rere.evaluation.evaluator import evaluate
from rere.models.checkpoint import Checkpoint
from rere.recommenders.as_evaluated import as_evaluated
from rere.recommenders.cross_catalog import CrossCatalogRecommender
from rere.recommenders.prior import Prior
from rere.runtime import distributed, in_processes
from rere.runtime.launch import Log


def evaluate_checkpoints(
    models: Mapping[str, Checkpoint],
    windows: Windows,
    catalog: CatalogIndex,
    config: EvaluationConfig,
    work: Path,
    *,
    own: CatalogIndex | None = None,
    prior: Prior | None = None,
) -> pd.DataFrame:
    """`evaluate` on the test rows for models by name, by constrained beam search, by `config.launcher`.

    Args:
        work: directory for what several processes exchange.
        own: the catalogue that the models were trained on, where it is another (see `CrossCatalogRecommender`).
        prior: as all of them are served with.
    """
    if config.launcher.starts_workers and not distributed.is_worker():
        return _in_processes(models, windows, catalog, config, work, own=own, prior=prior)
    tables = []
    for name, model in models.items():
        recommender = as_evaluated(name, model, own or catalog, config, sharding="shared")
        if prior is not None:
            recommender = recommender.with_prior(prior)
        asked = recommender if own is None else CrossCatalogRecommender(recommender, own.item_ids, catalog.item_ids)
        tables.append(evaluate(asked, windows.of("test"), catalog.index_of, config))
    return pd.concat(tables, ignore_index=True)


def _in_processes(
    models: Mapping[str, Checkpoint],
    windows: Windows,
    catalog: CatalogIndex,
    config: EvaluationConfig,
    work: Path,
    *,
    own: CatalogIndex | None,
    prior: Prior | None,
) -> pd.DataFrame:
    directories = {name: str(model.path.resolve()) for name, model in models.items()}
    spec: dict[str, Any] = {"models": directories, "other_catalog": own is not None, "with_prior": prior is not None}
    inputs: dict[str, in_processes.Saveable] = {"windows": windows, "catalog": catalog}
    if own is not None:
        inputs["own"] = own
    if prior is not None:
        inputs["prior"] = prior
    in_processes.run(f"{__name__}:worker", inputs, config, work, spec)
    table = pd.read_parquet(work / "results.parquet")
    return table.assign(**{name: [one.tolist() for one in table[name]] for name in ("items", "scores")})


def worker(spec: dict[str, Any], log: Log) -> None:
    """What each process does; the first writes the table."""
    models = {name: Checkpoint(Path(directory)) for name, directory in spec["models"].items()}
    work, config = Path(spec["work"]), EvaluationConfig.model_validate(spec["config"])
    inputs = in_processes.inputs_of(spec)
    windows, catalog = Windows.load(inputs / "windows"), CatalogIndex.load(inputs / "catalog")
    own = CatalogIndex.load(inputs / "own") if spec["other_catalog"] else None
    prior = Prior.load(inputs / "prior") if spec["with_prior"] else None
    table = evaluate_checkpoints(models, windows, catalog, config, work, own=own, prior=prior)
    if distributed.is_main():
        table.to_parquet(work / "results.parquet", index=False)
