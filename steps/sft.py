"""Supervised fine-tuning: the model learns to name the next item."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from ops.runtime.tracking import mlflow_log
from rere.catalog.index import CatalogIndex
from rere.catalog.warm_start import StartRecord
from rere.config.retraining import FromChampion
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.backbone import Checkpoint


@step(
    name="sft",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def fine_tune(
    windows: Windows, catalog: CatalogIndex, config: SFTConfig, backbone_sha256: str
) -> Annotated[Checkpoint, ArtifactConfig(name="sft_model")]:
    """Fine-tune the backbone that the catalogue was indexed for; a killed run resumes.

    `backbone_sha256` is the content of what the backbone's settings name (see `ops.runtime.named`).
    """
    return _train(windows, catalog, config, backbone_sha256, None)


@step(
    name="sft",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def fine_tune_on(
    *,
    champion_model: Checkpoint,
    start: StartRecord,
    windows: Windows,
    catalog: CatalogIndex,
    config: SFTConfig,
    backbone_sha256: str,
    warm_start: FromChampion,
) -> Annotated[Checkpoint, ArtifactConfig(name="sft_model")]:
    """Fine-tune on from the champion's weights, where the catalogue goes on from its; else from the backbone."""
    if start.type == "backbone":
        return _train(windows, catalog, config, backbone_sha256, None)
    shorter = config.model_copy(update={"epochs": warm_start.epochs, "learning_rate": warm_start.learning_rate})
    return _train(windows, catalog, shorter, backbone_sha256, champion_model)


def _train(
    windows: Windows, catalog: CatalogIndex, config: SFTConfig, backbone_sha256: str, start: Checkpoint | None
) -> Checkpoint:
    from rere.training.sft.train import train_sft

    backbone = catalog.config.backbone
    parent = start.identity() if start else "none"
    inputs = (windows.fingerprint, catalogue_fingerprint(catalog), backbone_sha256, parent)
    with work_directory("sft", config.as_one(), backbone, *inputs, code_fingerprint(__name__)) as work:
        return train_sft(windows, catalog, backbone, config, work, log=mlflow_log("sft", config), start=start)
