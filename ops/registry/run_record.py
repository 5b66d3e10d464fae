"""What is logged to a run in MLflow, also where its steps came from the cache: curves, metrics, data, tags.

Logging again what a run has already changes nothing, so a step may be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_RUN_NOTE

from ops.registry.tags import VersionTags
from ops.runtime.tracking import log_settings, metric_name
from rere.artifacts.manifest import fingerprint
from rere.data.dataset import PERIODS, IngestReport, Windows

T = TypeVar("T")
METRICS_AT_ONCE = 1_000  # MLflow's limit of a request
DIGEST = 32  # characters of a SHA-256; MLflow takes 36 at most
CONTEXTS = {"train": "training", "valid": "validation", "test": "testing"}


class Described(MetaDataset):
    """A data set by name and digest; MLflow keeps none of its rows."""

    @property
    def profile(self) -> None:
        """Of nothing: the digest is of content that stays where it is."""


@dataclass(frozen=True)
class RunResults:
    """What a run came to, from whatever steps.

    settings: by stage
    curves: stage ("sft", "preference", "rl") -> training records, each with its `update`
    summary: rows of `evaluator.summarise`, of all models
    """

    settings: dict[str, Any]
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    summary: pd.DataFrame
    ingest: IngestReport
    windows: Windows


def log_results(results: RunResults) -> None:
    """All of it to the active run: parameters, metrics, inputs, and the settings as a file."""
    log_settings(results.settings)
    mlflow.log_dict(results.settings, "settings.json")
    log_curves(results.curves)
    log_test_metrics(results.summary)
    log_data(results.ingest, results.windows)


def origin(ingest: IngestReport, git: Mapping[str, Any] | None, zenml_run: str) -> VersionTags:
    """What a version and its run are made of, as tags of both."""
    commit = f"{git['commit']}{'+' if git['dirty'] else ''}" if git else None
    return VersionTags(split=ingest.split, data=data_digest(ingest), zenml_run=zenml_run, commit=commit)


def log_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Training records by stage ("sft", "preference", "rl"), each with its `update`; the updates that the run lacks."""
    client, run = mlflow.MlflowClient(), _active()
    known = client.get_run(run).data.metrics
    logged = {
        name: {point.step for point in client.get_metric_history(run, name)}
        for name in known
        if name.partition("/")[0] in curves
    }
    now = round(time.time() * 1000)
    points = [
        Metric(name, value, now, int(record["update"]))
        for stage, records in curves.items()
        for record in records
        for name, value in _named(stage, record)
        if int(record["update"]) not in logged.get(name, ())
    ]
    for part in _parts(points, METRICS_AT_ONCE):
        client.log_batch(run, metrics=part)


def log_test_metrics(summary: pd.DataFrame) -> None:
    """Every model's metrics on the test rows, `test/MODEL/METRIC` (on warm rows `test_warm/…`), and all as a table.

    Args:
        summary: rows of `evaluator.summarise`, which has the intervals too.
    """
    means = {
        metric_name("test" if row["rows"] == "all" else "test_warm", row["model"], row["metric"]): float(row["mean"])
        for row in summary.to_dict("records")
    }
    for part in _parts(list(means.items()), METRICS_AT_ONCE):
        mlflow.log_metrics(dict(part))
    mlflow.log_text(summary.to_csv(index=False), "test_metrics.csv")


def log_data(report: IngestReport, windows: Windows) -> None:
    """The source's files and the prediction rows of each period as the run's inputs, each with its digest."""
    files = CodeDatasetSource({"source": report.source, **report.source_sha256})
    rows = CodeDatasetSource({"source": report.source, "split": report.split})
    sizes, digest = windows.table["period"].value_counts(), windows.fingerprint[:DIGEST]
    inputs: dict[str, Dataset] = {"source": Described(files, report.source, data_digest(report))}
    for period in (period for period in PERIODS if period in sizes):
        name = f"{report.source}, {period} rows ({sizes[period]:,})"
        inputs[CONTEXTS[period]] = Described(rows, name, digest)
    mlflow.log_inputs(datasets=[*inputs.values()], contexts=[*inputs], tags_list=[{} for _ in inputs])


def data_digest(report: IngestReport) -> str:
    """Of the content of the source's files, whatever they are called."""
    return fingerprint({str(n): one for n, one in enumerate(sorted(report.source_sha256.values()))})[:DIGEST]


def describe_run(tags: Mapping[str, str], card: str) -> None:
    """Tags of the active run, its commit where MLflow looks for it, and the model card as its description."""
    commit = {MLFLOW_GIT_COMMIT: tags["commit"].rstrip("+")} if "commit" in tags else {}
    mlflow.set_tags({**tags, **commit, MLFLOW_RUN_NOTE: card})
    mlflow.log_text(card, "model_card.md")


def _active() -> str:
    run = mlflow.active_run()
    assert run is not None  # `require_tracker` was asked before
    return str(run.info.run_id)


def _named(stage: str, record: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    yield from ((metric_name(stage, name), float(value)) for name, value in record.items() if name != "update")


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    yield from (values[start : start + size] for start in range(0, len(values), size))
