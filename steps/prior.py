"""What is registered and served beside the model: how popular its items were, for users of whom nothing is known."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.prior import PriorMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.config.served_model import ServedModelConfig
from rere.data.dataset import Dataset
from rere.recommenders.prior import Prior


@step(name="prior", cache_policy=cache_policy(__name__), output_materializers=PriorMaterializer)
def make_prior(*, dataset: Dataset, config: ServedModelConfig) -> Annotated[Prior, ArtifactConfig(name="prior")]:
    """Count the training period."""
    from rere.data.sequences import training_counts

    return Prior(training_counts(dataset), config)
