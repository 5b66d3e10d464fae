"""Reinforcement learning: the model's own constrained beams, rewarded by where the next item stands in them."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from rere.artifacts import fingerprint
from rere.baselines.item_models import ItemModels
from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.language_model import Checkpoint
from steps.code import cache_policy, code_fingerprint
from steps.tracking import mlflow_log
from steps.work import catalogue_fingerprint, work_directory


@step(
    name="rl",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def reinforce(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    item_models: ItemModels,
    config: RLConfig,
    teacher: str,
) -> Annotated[Checkpoint, ArtifactConfig(name="rere_model")]:
    """Train on from the fine-tuned model; a killed run resumes.

    Args:
        teacher: which of the item models a collaborative reward asks.
    """
    from rere.training.rl import train_rl

    kind = item_models.teacher(teacher)
    mentor = item_models.models[kind]
    lessons = fingerprint({str(n): repr(record) for n, record in enumerate(mentor.curves)}) + kind
    inputs = (fingerprint(start.verify()), windows.fingerprint, catalogue_fingerprint(catalog), lessons)
    with work_directory("rl", config.as_one(), *inputs, code_fingerprint(__name__)) as work:
        return train_rl(start, windows, catalog, config, work, mlflow_log("rl", config), mentor)
