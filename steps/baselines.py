"""Rank the catalogue for every test row by the baselines: popularity, then the item models."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, step

from materializers.table import TableMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.recommenders import ItemModelsConfig
from rere.data.dataset import Dataset, Windows
from rere.recommenders.base import Recommender
from rere.recommenders.item_models import ItemModels


@step(name="baselines", cache_policy=cache_policy(__name__), output_materializers=TableMaterializer)
def rank_baselines(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    item_models: ItemModels,
    config: ItemModelsConfig,
    evaluation: EvaluationConfig,
) -> Annotated[pd.DataFrame, ArtifactConfig(name="baselines")]:
    """Per-row results of each (see `rere.evaluation.evaluator.evaluate`)."""
    from rere.data.sequences import training_sequences
    from rere.evaluation.evaluator import evaluate
    from rere.recommenders.popularity import Popularity

    rivals: list[Recommender] = [
        Popularity.fit(training_sequences(dataset), len(catalog.item_ids)),
        *(item_models.models[rival.type] for rival in config.rivals),
    ]
    rows = windows.of("test")
    return pd.concat([evaluate(rival, rows, catalog.index_of, evaluation) for rival in rivals], ignore_index=True)
