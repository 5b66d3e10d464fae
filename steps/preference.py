"""Preference training: the target is preferred to other items, by DPO, S-DPO, DynamicPO or NAPO."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from ops.runtime.tracking import mlflow_log
from rere.catalog.index import CatalogIndex
from rere.config.preference import PreferenceConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint


@step(
    name="preference",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def prefer(
    *, sft_model: Checkpoint, windows: Windows, catalog: CatalogIndex, config: PreferenceConfig
) -> Annotated[Checkpoint, ArtifactConfig(name="preference_model")]:
    """Train on from the fine-tuned model, the reference; a killed run resumes."""
    from rere.training.preference.train import train_preference

    inputs = (sft_model.identity(), windows.fingerprint, catalogue_fingerprint(catalog))
    with work_directory("preference", config.as_one(), *inputs, code_fingerprint(__name__)) as work:
        return train_preference(sft_model, windows, catalog, config, work, log=mlflow_log("preference", config))
