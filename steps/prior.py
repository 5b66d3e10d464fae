"""What is registered and served beside the model: popularity for unknown users, new items' boost, an item model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
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

if TYPE_CHECKING:
    from rere.recommenders.generative import GenerativeRecommender


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
    """Count the training period; choose new items' boost and the item model's share on half of the validation users.

    Args:
        item_models: where one of them is served, in a blend or alone; else None.
        rl_model: for a blend and for a boost; else None.
    """
    from rere.data.sequences import training_counts
    from rere.recommenders.blend import fitted_share
    from rere.recommenders.new_items import fitted_boost

    prior = Prior(training_counts(dataset), config)

    if config.new_items is not None and rl_model is not None:
        boost: float | None
        if config.new_items.boost == "fitted":
            rows = _half(windows, catalog, config.new_items.validation_rows)
            boost = fitted_boost(_recommender(rl_model, catalog, evaluation), prior, *rows)
        else:
            boost = config.new_items.boost
        log_metadata({"new_item_boost": boost or "none"})
        prior = replace(prior, boost=boost)
    if config.item_model is None or item_models is None:
        return prior
    kind = item_models.teacher(config.item_model)
    with_model = replace(prior, item_model=item_models.models[kind])
    if config.blend is None or rl_model is None:
        log_metadata({"item_model": kind})
        return replace(with_model, share=1.0)
    share = config.blend.share
    if share == "fitted":
        rows = _half(windows, catalog, config.blend.validation_rows)
        share = fitted_share(_recommender(rl_model, catalog, evaluation), with_model, *rows)
    log_metadata({"item_model": kind, "share": share})
    return replace(with_model, share=share) if share else prior


def _recommender(model: Checkpoint, catalog: CatalogIndex, evaluation: EvaluationConfig) -> GenerativeRecommender:
    from rere.recommenders.generative import GenerativeRecommender

    return GenerativeRecommender(
        "fitting",
        model.path,
        catalog,
        evaluation.beams,
        evaluation.normalisation,
        batch_prompts=evaluation.batch_prompts,
    )


def _half(windows: Windows, catalog: CatalogIndex, at_most: int) -> tuple[list[list[int]], np.ndarray]:
    """Histories and targets of about so many evenly spaced rows of the validation users that settings are chosen on."""
    from rere.data.halves import selection_rows
    from rere.data.sequences import indexed_rows

    rows = windows.of("valid")
    half = rows[selection_rows(rows["user_id"].tolist())]
    return indexed_rows(half.iloc[:: max(1, len(half) // at_most)], catalog.index_of)
