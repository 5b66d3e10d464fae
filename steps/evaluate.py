"""Every test row, by constrained beam search over the whole catalogue, for the tuned and the reinforced model."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, log_metadata, step

from materializers.table import TableMaterializer
from rere.catalog.index import CatalogIndex
from rere.config import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.language_model import Checkpoint
from steps.code import cache_policy


# One materializer for several outputs goes through a set in ZenML 0.98: the cache key would change at random.
@step(
    cache_policy=cache_policy(__name__),
    output_materializers={"results": TableMaterializer, "metrics": TableMaterializer},
)
def evaluate(
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    baselines: pd.DataFrame,
    tuned: Checkpoint,
    reinforced: Checkpoint,
    config: EvaluationConfig,
) -> tuple[
    Annotated[pd.DataFrame, ArtifactConfig(name="results")],
    Annotated[pd.DataFrame, ArtifactConfig(name="metrics")],
]:
    """Per-row results of all models, and their metrics with intervals."""
    from rere.baselines.popularity import Popularity
    from rere.data.sequences import training_sequences
    from rere.evaluation.evaluator import evaluate as judge_rows
    from rere.evaluation.evaluator import summarise
    from rere.serving.recommender import GenerativeRecommender

    rows, tables = windows.of("test"), [baselines]
    for name, checkpoint in {"SFT": tuned, "ReRe": reinforced}.items():
        recommender = GenerativeRecommender(
            name, checkpoint.path, catalog, config.beams, config.normalisation, config.batch_prompts
        )
        tables.append(judge_rows(recommender, rows, catalog.index_of, config))
    results = pd.concat(tables, ignore_index=True)
    popularity = Popularity.fit(training_sequences(dataset), len(catalog.item_ids))
    metrics = summarise(results, config, popularity.counts)
    log_metadata({"rows": len(rows), "warm_rows": int(rows["warm"].sum())})
    return results, metrics
