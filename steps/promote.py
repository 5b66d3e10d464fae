"""Register the model: `challenger` always, `champion` when the gate passed.

Last of all, and in this order: log it by path, load it back and have it answer, register, name it. Running again
with the same model finds its version instead of making another.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from zenml import ArtifactConfig, step
from zenml.enums import ModelStages
from zenml.metadata.metadata_types import MetadataType
from zenml.types import HTMLString

from ops.registry import champion_log as champion
from ops.registry import mlflow_registry as registry
from ops.registry.decisions import Decision, Promotion, PromotionMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.data.dataset import Dataset, Windows
from rere.models.backbone import Checkpoint

EXAMPLES = 2  # items in the request that a run suggests, and histories in the registered model's input example


@step(enable_cache=False, experiment_tracker=True, output_materializers=PromotionMaterializer)
def promote(
    model: Checkpoint,
    catalog: CatalogIndex,
    windows: Windows,
    dataset: Dataset,
    decision: Decision,
    report: HTMLString,
    review: HTMLString,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
    settings: dict[str, Any],
) -> Annotated[Promotion, ArtifactConfig(name="promotion")]:
    """Register in MLflow, and as a ZenML Model version that links what it was made of."""
    import mlflow

    from ops.registry.zenml_registry import record_version
    from rere.artifacts.provenance import provenance

    registry.require_tracker()
    name = config.model_name
    version = registry.find_version(name, decision.content)
    if version is None:
        examples = [list(map(str, history)) for history in windows.of("test")["history"].head(EXAMPLES)]
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / "catalog"
            catalog.save(place)
            served = registry.serving_settings(windows, evaluation)
            uri = registry.log_model(model.path, place, served, examples)
        version = registry.register(uri, name, {registry.FINGERPRINT: decision.content})
    mlflow.log_text(report, "report.html")
    mlflow.log_text(review, "review.html")
    registry.tag(name, version, _tags(decision, dataset, config))
    registry.set_alias(name, registry.CHALLENGER, version)
    metadata: dict[str, MetadataType] = {
        "mlflow_model": f"models:/{name}/{version}",
        "content": decision.content,
        "gate": decision.verdict.model_dump(mode="json"),
        "settings": settings,
        "provenance": provenance({}),
        "data": dataset.report.source_sha256,
        "windows": windows.fingerprint,
    }
    record_version(name, version, ModelStages.PRODUCTION if decision.is_champion else ModelStages.STAGING, metadata)
    turned_down = champion.withdrawn(name, version)
    promotes = decision.promotes and config.decided_by == "gate" and turned_down is None
    if promotes:
        champion.move(name, version, "the gate", "every check passed", expected=decision.champion or "")
    holds = promotes or decision.is_champion
    return Promotion(
        model=name,
        version=version,
        aliases=(registry.CHALLENGER, *([registry.CHAMPION] if holds else [])),
        tracking_uri=mlflow.get_tracking_uri(),
        waits=_waits(decision, holds, turned_down),
        example=tuple(map(str, windows.of("test")["history"].iloc[0]))[-EXAMPLES:],
    )


def _tags(decision: Decision, dataset: Dataset, config: PromotionConfig) -> dict[str, str]:
    """What the version is known by in lists, and what a reviewer's approval is held against."""
    import mlflow

    run, newest = mlflow.active_run(), registry.newest_interaction(dataset)
    found = {
        "gate": "passed" if decision.verdict.passed else "failed",
        "judged_against": decision.champion or "",
        "metric": config.gate.metric,
        "value": "" if decision.value is None else f"{decision.value:.4f}",
        registry.REVIEW: run.info.run_id if run else "",
        registry.NEWEST: "" if newest is None else str(newest),
    }
    return {key: value for key, value in found.items() if value} | {"judged_against": found["judged_against"]}


def _waits(decision: Decision, holds: bool, turned_down: champion.Event | None) -> str:
    """Why a model that could be champion isn't; empty where there is nothing to say."""
    if holds or not decision.verdict.passed:
        return ""
    if turned_down is not None:
        return (
            f"{turned_down.who} turned it down ({turned_down.reason}); only `rere approve` or `rere promote` lift that"
        )
    return "it waits for a reviewer: `rere approve` or `rere reject`"
