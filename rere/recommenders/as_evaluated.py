"""A trained model as a recommender with the evaluation's settings.

Apart from `generative`, which RL's validation uses without these settings: they would belong to RL's cache key.
"""

from __future__ import annotations

from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.models.checkpoint import Checkpoint
from rere.recommenders.generative import GenerativeRecommender, Sharding


def as_evaluated(
    name: str, model: Checkpoint, catalog: CatalogIndex, config: EvaluationConfig, *, sharding: Sharding = "alone"
) -> GenerativeRecommender:
    """Load the model; see `GenerativeRecommender`."""
    return GenerativeRecommender(
        name,
        model.path,
        catalog,
        config.beams,
        config.normalisation,
        batch_prompts=config.batch_prompts,
        sharding=sharding,
    )
