"""A run's prior: the training period counted, the rest chosen on half of the validation users."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.served_model import ServedModelConfig
from rere.data.dataset import Windows
from rere.data.halves import selection_half
from rere.data.sequences import indexed_rows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.as_evaluated import as_evaluated
from rere.recommenders.blend import fitted_share
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.item_models import ItemModels
from rere.recommenders.new_items import fitted_boost
from rere.recommenders.prior import Prior


class ValidationRanker:
    """A language model, loaded once it is asked for, and the validation rows that settings are chosen on."""

    def __init__(
        self, model: Checkpoint, windows: Windows, catalog: CatalogIndex, evaluation: EvaluationConfig
    ) -> None:
        self.model, self.windows, self.catalog, self.evaluation = model, windows, catalog, evaluation

    @cached_property
    def recommender(self) -> GenerativeRecommender:
        return as_evaluated("fitting", self.model, self.catalog, self.evaluation)

    def rows(self, at_most: int) -> tuple[list[list[int]], np.ndarray]:
        """Histories and targets of about so many evenly spaced rows of the selection half of the users."""
        half = selection_half(self.windows)
        return indexed_rows(half.iloc[:: max(1, len(half) // at_most)], self.catalog.index_of)


def fit_prior(
    counts: np.ndarray, config: ServedModelConfig, item_models: ItemModels | None, ranker: ValidationRanker | None
) -> tuple[Prior, dict[str, Any]]:
    """Choose new items' boost and the item model's share, where they are to be fitted.

    Args:
        counts: (I,) training interactions per item.
        item_models: where one of them is served, in a blend or alone; else None.
        ranker: of the language model, for a blend and for a boost; else None.

    Returns:
        The prior, and what was chosen, to be logged.
    """
    prior, chosen = Prior(counts, config), dict[str, Any]()
    new_items = config.new_items if ranker is not None else None
    if new_items is not None and new_items.boost != "fitted":
        prior = replace(prior, boost=new_items.boost)
    if config.item_model is not None and item_models is not None:
        kind = item_models.teacher(config.item_model)
        chosen["item_model"] = kind
        with_model = replace(prior, item_model=item_models.models[kind])
        if config.blend is None or ranker is None:
            return replace(with_model, share=1.0), chosen
        share = config.blend.share
        if share == "fitted":
            share = fitted_share(ranker.recommender, with_model, *ranker.rows(config.blend.validation_rows))
        chosen["share"] = share
        prior = replace(with_model, share=share) if share else prior
    if new_items is not None and ranker is not None:
        if new_items.boost == "fitted":  # in the searches that are served, those of a blend
            boost = fitted_boost(ranker.recommender, prior, *ranker.rows(new_items.validation_rows))
            prior = replace(prior, boost=boost)
        chosen["new_item_boost"] = prior.boost or "none"
    return prior, chosen
