"""What is registered and served beside the model: popularity for unknown users, new items' boost, an item model."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, log_metadata, step

from materializers.prior import PriorMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.served_model import ServedModelConfig
from rere.data.dataset import Dataset, Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels
from rere.recommenders.prior import Prior


@step(name="prior", cache_policy=cache_policy(__name__), output_materializers=PriorMaterializer)
def make_prior(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    config: ServedModelConfig,
    evaluation: EvaluationConfig,
    item_models: ItemModels | None = None,
    language_model: Checkpoint | None = None,
) -> Annotated[Prior, ArtifactConfig(name="prior")]:
    """Count the training period; choose new items' boost and the item model's share on half of the validation users.

    Args:
        item_models: where one of them is served, in a blend or alone; else None.
        language_model: that is served, for a blend and for a boost; else None.
    """
    from rere.data.sequences import training_counts
    from rere.recommenders.fitted_prior import ValidationRanker, fit_prior

    ranker = None if language_model is None else ValidationRanker(language_model, windows, catalog, evaluation)
    prior, chosen = fit_prior(training_counts(dataset), config, item_models, ranker)
    if chosen:
        log_metadata(chosen)
    return prior
