"""The model as MLflow keeps it: logged by path, with the packages that it needs, and proven to answer."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from ops.registry.mlflow_registry import room_for
from ops.runtime.run_dirs import catalogue_fingerprint
from rere.artifacts.manifest import fingerprint, writing
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.project import CODE
from rere.recommenders.prior import Prior

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(Array(DataType.string), "history")]),
    outputs=Schema(
        [
            ColSpec(Array(DataType.string), "item_ids"),
            ColSpec(Array(DataType.string), "titles"),
            ColSpec(Array(DataType.double), "scores"),
            ColSpec(Array(DataType.string), "unknown"),
            ColSpec(DataType.string, "problem"),
            ColSpec(DataType.string, "based_on"),
        ]
    ),
    params=ParamSchema([ParamSpec("k", DataType.long, 10)]),
)
# All that the served model and the code logged along with it import, also inside functions.
REQUIREMENTS = (
    "huggingface-hub",
    "jinja2",
    "mlflow",
    "numpy",
    "pandas",
    "peft",
    "pyarrow",
    "pydantic",
    "pydantic-core",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
)


def requirements() -> list[str]:
    """The served model's packages in the versions installed here, as every package index has them: `torch==2.13.0`.

    Without the local part (`+cpu`), which names a build that only PyTorch's own index has; pip takes any build then.
    """
    installed = {package: importlib.metadata.version(package) for package in REQUIREMENTS}
    return [f"{package}=={version.split('+')[0]}" for package, version in installed.items()]


def serving_settings(windows: Windows, evaluation: EvaluationConfig) -> dict[str, Any]:
    """How a model is served: as it was evaluated."""
    return {
        "history_items": windows.history_items,
        "beams": evaluation.beams,
        "normalisation": evaluation.normalisation,
    }


def content_of(model: Checkpoint | None, catalog: CatalogIndex, prior: Prior, settings: dict[str, Any]) -> str:
    """What a version is known by: SHA-256 over weights, tokenizer, catalogue, prior and serving settings.

    Args:
        model: None for an item model, which `prior` holds.
    """
    parts = {name: str(value) for name, value in settings.items()}
    vocabulary = json.dumps(catalog.tokenizer.get_vocab(), sort_keys=True)
    known = {"tokenizer": vocabulary, "catalog": catalogue_fingerprint(catalog), "prior": prior.content()}
    weights = {} if model is None else {"model": model.identity()}
    return fingerprint(known | weights | parts)


def log_model(
    checkpoint: Path | None, catalog: Path, prior: Path, settings: dict[str, Any], example: list[list[str]]
) -> str:
    """Log the servable model to the active MLflow run, from its files, and check that it answers; returns its URI.

    Args:
        checkpoint, catalog, prior: sealed directories; no checkpoint for an item model, which lies in `prior`.
        settings: history_items, beams, normalisation.
        example: histories of item ids.

    Raises:
        RereError: the logged model, loaded afresh, doesn't give the asked number of items.
    """
    rows = pd.DataFrame({"history": example})
    given = {"checkpoint": checkpoint, "catalog": catalog, "prior": prior}
    directories = {part: path for part, path in given.items() if path is not None}
    names = {path.name for path in directories.values()}
    assert len(names) == len(directories)  # MLflow keeps only the last part of each path
    with writing(mlflow.get_artifact_uri()):
        logged = mlflow.pyfunc.log_model(
            name="recommender",
            python_model=str(Path(__file__).with_name("logged_model.py")),
            artifacts={part: str(path) for part, path in directories.items()},
            model_config=settings,
            code_paths=[str(CODE / "rere")],
            pip_requirements=requirements(),
            signature=SIGNATURE,
            input_example=(rows, {"k": 3}),
        )
    with (catalog / "items.jsonl").open(encoding="utf-8") as items:
        asked = min(3, sum(1 for _ in items))
    with room_for(logged.model_uri) as room:
        answer = mlflow.pyfunc.load_model(logged.model_uri, dst_path=room).predict(rows, params={"k": asked})
    lengths = [len(ids) for ids in answer["item_ids"]]
    if lengths != [asked] * len(example):
        raise RereError(f"{asked} items for each example history", f"lists of {lengths}", "report this: it is a bug")
    return str(logged.model_uri)
