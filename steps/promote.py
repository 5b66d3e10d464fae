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

from rere.catalog.index import CatalogIndex
from rere.config import EvaluationConfig, PromotionConfig
from rere.data.dataset import Windows
from rere.language_model import Checkpoint
from steps import champion, registry
from steps.decisions import Decision, Promotion, PromotionMaterializer

EXAMPLES = 2  # histories in the registered model's input example


@step(enable_cache=False, experiment_tracker=True, output_materializers=PromotionMaterializer)
def promote(
    model: Checkpoint,
    catalog: CatalogIndex,
    windows: Windows,
    decision: Decision,
    report: HTMLString,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
    settings: dict[str, Any],
) -> Annotated[Promotion, ArtifactConfig(name="promotion")]:
    """Register in MLflow, and as a ZenML Model version that links what it was made of."""
    import mlflow

    from rere.provenance import provenance
    from steps.model_version import record_version

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
        mlflow.log_text(report, "report.html")
        version = registry.register(uri, name, {registry.FINGERPRINT: decision.content})
    registry.set_alias(name, registry.CHALLENGER, version)
    metadata: dict[str, MetadataType] = {
        "mlflow_model": f"models:/{name}/{version}",
        "content": decision.content,
        "gate": decision.verdict.model_dump(mode="json"),
        "settings": settings,
        "provenance": provenance({}),
    }
    record_version(name, version, ModelStages.PRODUCTION if decision.is_champion else ModelStages.STAGING, metadata)
    if decision.promotes:
        champion.move(name, version, "the gate", "every check passed", expected=decision.champion)
    aliases = [registry.CHALLENGER, *([registry.CHAMPION] if decision.promotes else [])]
    return Promotion(model=name, version=version, aliases=tuple(aliases), tracking_uri=mlflow.get_tracking_uri())
