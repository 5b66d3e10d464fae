"""What is registered and served beside the model: popularity for unknown users, an item model's part."""

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
    rl_model: Checkpoint | None = None,
) -> Annotated[Prior, ArtifactConfig(name="prior")]:
    """Count the training period; choose the item model's share on half of the validation users.

    Args:
        item_models: where one of them is served, in a blend or alone; else None.
        rl_model: for a blend; else None.
    """
    from rere.data.sequences import training_counts

    alone = Prior(training_counts(dataset), config)
    if config.item_model is None or item_models is None:
        return alone
    kind = item_models.teacher(config.item_model)
    if config.blend is None or rl_model is None:
        log_metadata({"item_model": kind})
        return Prior(alone.counts, config, item_models.models[kind], share=1.0)
    share = config.blend.share
    if share == "fitted":
        share = _fitted(Prior(alone.counts, config, item_models.models[kind]), rl_model, windows, catalog, evaluation)
    log_metadata({"item_model": kind, "share": share})
    return Prior(alone.counts, config, item_models.models[kind], share) if share else alone


def _fitted(
    prior: Prior, model: Checkpoint, windows: Windows, catalog: CatalogIndex, evaluation: EvaluationConfig
) -> float:
    """On evenly spaced rows of that half."""
    from rere.data.halves import selection_rows
    from rere.data.sequences import indexed_rows
    from rere.recommenders.blend import fitted_share
    from rere.recommenders.generative import GenerativeRecommender

    assert prior.config.blend is not None
    rows = windows.of("valid")
    half = rows[selection_rows(rows["user_id"].tolist())]
    every = max(1, len(half) // prior.config.blend.validation_rows)
    histories, targets = indexed_rows(half.iloc[::every], catalog.index_of)
    recommender = GenerativeRecommender(
        "blend",
        model.path,
        catalog,
        evaluation.beams,
        evaluation.normalisation,
        batch_prompts=evaluation.batch_prompts,
    )
    return fitted_share(recommender, prior, histories, targets)
