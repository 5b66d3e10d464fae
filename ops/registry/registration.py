"""A run's model becomes a version: logged by path, loaded back and asked, registered, and described in both registries.

Done again for the same model, it finds the version instead of making another.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from zenml.enums import ModelStages
from zenml.metadata.metadata_types import MetadataType

from ops.registry import mlflow_registry as registry
from ops.registry import policy, run_record, servable, zenml_registry
from ops.registry.stages import Reviewed
from ops.registry.tags import VersionTags
from rere.artifacts.provenance import provenance
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.recommenders.labels import to_serve
from rere.recommenders.prior import Prior
from rere.recommenders.trained import Trained
from rere.reporting.model_card import CardInputs, model_card

EXAMPLES = 2  # histories in the registered model's input example


@dataclass(frozen=True)
class RunOutputs:
    """What a run made; `metrics`: rows of `evaluator.summarise` of all its models."""

    dataset: Dataset
    windows: Windows
    catalog: CatalogIndex
    trained: Trained
    prior: Prior
    metrics: pd.DataFrame
    evaluation: EvaluationConfig


def register(outputs: RunOutputs, review: Reviewed, report: str) -> str:
    """Make or find the version of this content, named `challenger`; returns it.

    To be called in a step with an MLflow run, which gets the run's results and pages too.

    Args:
        report: the run's report, HTML.

    Raises:
        RereError: no MLflow run, or a logged model that doesn't answer.
    """
    registry.require_tracker()
    made = provenance(review.seeds, review.submitted)
    origin = run_record.origin(outputs.dataset.report, made["git"], zenml_registry.running())
    run_record.log_results(
        run_record.RunResults(
            review.settings,
            outputs.trained.curves,
            summary=outputs.metrics,
            ingest=outputs.dataset.report,
            windows=outputs.windows,
        )
    )
    version = registry.find_version(review.model, review.content)
    if version is None:
        tags = origin.model_copy(update={"fingerprint": review.content})
        version = registry.register(_logged(outputs), review.model, tags)
    mlflow.log_text(report, "report.html")
    mlflow.log_text(review.page_of(version), "review.html")
    _describe(outputs, review, version, origin, made)
    if policy.policy_of(review.model) is None:
        policy.set_policy(review.model, review.gate, "the first run", "its gate")
    return version


def _logged(outputs: RunOutputs) -> str:
    """Log the servable model; returns its URI."""
    served = servable.serving_settings(outputs.windows, outputs.evaluation)
    examples = [list(map(str, history)) for history in outputs.windows.of("test")["history"].head(EXAMPLES)]
    with tempfile.TemporaryDirectory() as scratch:
        catalog, prior = Path(scratch) / "catalog", Path(scratch) / "prior"
        outputs.catalog.save(catalog)
        outputs.prior.save(prior)
        checkpoint = None if outputs.prior.alone else outputs.trained.served[1].path
        return servable.log_model(checkpoint, catalog, prior, served, examples)


def _describe(outputs: RunOutputs, review: Reviewed, version: str, origin: VersionTags, made: dict[str, Any]) -> None:
    """The version's card, tags, alias and ZenML Model version, and the same of the run."""
    name = review.model
    card = model_card(
        CardInputs(
            model=name,
            version=version,
            subject=to_serve(outputs.metrics["model"]),
            serves=review.serves,
            summary=outputs.metrics,
            ingest=outputs.dataset.report,
            settings=review.settings,
            verdict=review.verdict,
            notes=review.notes,
            commit=origin.commit,
        )
    )
    run = mlflow.active_run()
    tags = review.tags(run.info.run_id if run else "")
    run_record.describe_run({"model": name, "version": version, **tags.written(), **origin.written()}, card)
    registry.tag(name, version, tags)
    registry.describe(name, version, card)
    registry.set_alias(name, registry.CHALLENGER, version)
    metadata: dict[str, MetadataType] = {
        "mlflow_model": f"models:/{name}/{version}",
        "content": review.content,
        "gate": review.verdict.model_dump(mode="json"),
        "settings": review.settings,
        "provenance": made,
        "data": review.data,
        "windows": review.windows,
        "base": review.base or "",
    }
    is_champion = registry.champion_version(name) == version
    stage = ModelStages.PRODUCTION if is_champion else ModelStages.STAGING
    zenml_registry.record_version(name, version, stage, metadata, card)
