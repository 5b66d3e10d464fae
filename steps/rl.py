"""Reinforcement learning: the model's own constrained beams, rewarded by where the next item stands in them."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, columns_fingerprint, work_directory
from ops.runtime.tracking import mlflow_log
from rere.artifacts.pins import pinned
from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels


@step(
    name="rl",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def reinforce(
    *,
    start_model: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    teacher: ItemModels,
    config: RLConfig,
    rl_sha256: str,
    model_commits: dict[str, str],
) -> Annotated[Checkpoint, ArtifactConfig(name="rl_model")]:
    """Train on from the fine-tuned model, or from the one after preference training; a killed run resumes.

    Args:
        teacher: the one item model that a collaborative reward asks.
        rl_sha256: content of what `config` names, a custom reward's code above all (see `ops.runtime.named`).
    """
    from rere.training.rl.train import train_rl

    config = pinned(config, model_commits)
    item_model = teacher.alone()
    teacher_hash = item_model.content()
    inputs = (start_model.identity(), windows.fingerprint, catalogue_fingerprint(catalog), teacher_hash, rl_sha256)
    read = columns_fingerprint(catalog)
    with work_directory("rl", config.as_one(), *inputs, read, code_fingerprint(__name__)) as work:
        return train_rl(start_model, windows, catalog, config, work, log=mlflow_log("rl", config), teacher=item_model)
