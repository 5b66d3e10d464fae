"""Supervised fine-tuning: the model learns to name the next item."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from ops.runtime.base_record import BaseRecord
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from ops.runtime.tracking import mlflow_log
from rere.catalog.index import CatalogIndex
from rere.catalog.warm_start import StartRecord
from rere.config.retraining import FromChampion, Start
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels


@step(
    name="sft",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def fine_tune(
    windows: Windows,
    catalog: CatalogIndex,
    config: SFTConfig,
    backbone_sha256: str,
    teacher: ItemModels | None = None,
) -> Annotated[Checkpoint, ArtifactConfig(name="sft_model")]:
    """Fine-tune the backbone that the catalogue was indexed for; a killed run resumes.

    Args:
        backbone_sha256: the content of what the backbone's settings name (see `ops.runtime.named`).
        teacher: the one item model that `config.distillation` asks.
    """
    return _train(windows, catalog, config, backbone_sha256, start=None, teacher=teacher)


@step(
    name="sft",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def fine_tune_on(
    *,
    base: BaseRecord,
    start: StartRecord,
    windows: Windows,
    catalog: CatalogIndex,
    config: SFTConfig,
    backbone_sha256: str,
    start_from: Start,
    teacher: ItemModels | None = None,
) -> Annotated[Checkpoint, ArtifactConfig(name="sft_model")]:
    """Fine-tune on from the base's weights, where the catalogue goes on from its; else from the backbone."""
    if start.type == "backbone" or not isinstance(start_from, FromChampion):
        return _train(windows, catalog, config, backbone_sha256, start=None, teacher=teacher)
    shorter = config.model_copy(update={"epochs": start_from.epochs, "learning_rate": start_from.learning_rate})
    return _train(windows, catalog, shorter, backbone_sha256, start=base.load("language_model"), teacher=teacher)


def _train(
    windows: Windows,
    catalog: CatalogIndex,
    config: SFTConfig,
    backbone_sha256: str,
    *,
    start: Checkpoint | None,
    teacher: ItemModels | None,
) -> Checkpoint:
    from rere.training.sft.train import train_sft

    backbone = catalog.config.backbone
    parent = "none" if start is None else start.identity()
    teacher_content = "none" if teacher is None else teacher.alone().content()
    inputs = (windows.fingerprint, catalogue_fingerprint(catalog), backbone_sha256, parent, teacher_content)
    with work_directory("sft", config.as_one(), backbone, *inputs, code_fingerprint(__name__)) as work:
        return train_sft(
            windows, catalog, backbone, config, work, log=mlflow_log("sft", config), start=start, teacher=teacher
        )
