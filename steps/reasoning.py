"""Reasoning: the model writes a text, a recommendation head ranks after it and rewards what helps it."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.checkpoint import CheckpointMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from ops.runtime.tracking import mlflow_log
from rere.catalog.index import CatalogIndex
from rere.config.reasoning import ReasoningConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint


@step(
    name="reasoning",
    cache_policy=cache_policy(__name__),
    experiment_tracker=True,
    output_materializers=CheckpointMaterializer,
)
def reason(
    *, sft_model: Checkpoint, windows: Windows, catalog: CatalogIndex, config: ReasoningConfig
) -> Annotated[Checkpoint, ArtifactConfig(name="reasoning_model")]:
    """Train on from the fine-tuned model; a killed run resumes."""
    from rere.training.reasoning.train import train_reasoning

    inputs = (sft_model.identity(), windows.fingerprint, catalogue_fingerprint(catalog))
    with work_directory("reasoning", config, *inputs, code_fingerprint(__name__)) as work:
        return train_reasoning(sft_model, windows, catalog, config, work, log=mlflow_log("reasoning", config))
