"""Supervised fine-tuning: the model learns to name the next item."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from rere.catalog.index import CatalogIndex
from rere.config import SFTConfig
from rere.data.dataset import Windows
from rere.language_model import Checkpoint
from steps.code import cache_policy, code_fingerprint
from steps.tracking import mlflow_log
from steps.work import catalogue_fingerprint, work_directory


@step(
    name="sft",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def fine_tune(
    windows: Windows, catalog: CatalogIndex, config: SFTConfig
) -> Annotated[Checkpoint, ArtifactConfig(name="sft_model")]:
    """Fine-tune the backbone that the catalogue was indexed for; a killed run resumes."""
    from rere.training.sft import train_sft

    backbone = catalog.config.backbone
    determinants = (config, backbone, windows.fingerprint, catalogue_fingerprint(catalog), code_fingerprint(__name__))
    with work_directory("sft", *determinants) as work:
        return train_sft(windows, catalog, backbone, config, work, mlflow_log("sft", config))
