"""The rivals: popularity and SASRec, fitted on the training period and asked for every test row."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, step

from materializers.table import TableMaterializer
from rere.catalog.index import CatalogIndex
from rere.config import EvaluationConfig, SASRecConfig
from rere.data.dataset import Dataset, Windows
from rere.evaluation.recommender import Recommender
from steps.code import cache_policy


@step(name="baselines", cache_policy=cache_policy(__name__), output_materializers=TableMaterializer)
def rank_baselines(
    dataset: Dataset, windows: Windows, catalog: CatalogIndex, config: SASRecConfig, evaluation: EvaluationConfig
) -> Annotated[pd.DataFrame, ArtifactConfig(name="baseline_results")]:
    """Per-row results of both (see `rere.evaluation.evaluator.evaluate`)."""
    from rere.baselines.popularity import Popularity
    from rere.baselines.sasrec import fit_sasrec
    from rere.data.sequences import training_sequences
    from rere.evaluation.evaluator import evaluate

    sequences, items = training_sequences(dataset), len(catalog.item_ids)
    valid, index = windows.of("valid"), catalog.index_of
    histories = [[index[item] for item in history] for history in valid["history"]]
    targets = [index[item] for item in valid["target"]]
    rivals: list[Recommender] = [
        Popularity.fit(sequences, items),
        fit_sasrec(sequences, items, histories, targets, config),
    ]
    return pd.concat([evaluate(rival, windows.of("test"), index, evaluation) for rival in rivals], ignore_index=True)
