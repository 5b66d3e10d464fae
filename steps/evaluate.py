"""Every test row, by constrained beam search over the whole catalogue: the fine-tuned model, and those after it.

A model that reasons ranks by its own head.
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, log_metadata, step

from materializers.table import TableMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.prior import Prior


# One materializer for several outputs goes through a set in ZenML 0.98: the cache key would change at random.
@step(
    cache_policy=cache_policy(__name__),
    output_materializers={"results": TableMaterializer, "metrics": TableMaterializer},
)
def evaluate(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    baselines: pd.DataFrame,
    sft_model: Checkpoint,
    config: EvaluationConfig,
    preference_model: Checkpoint | None = None,
    rl_model: Checkpoint | None = None,
    reasoning_model: Checkpoint | None = None,
    prior: Prior | None = None,
) -> tuple[
    Annotated[pd.DataFrame, ArtifactConfig(name="results")],
    Annotated[pd.DataFrame, ArtifactConfig(name="metrics")],
]:
    """Per-row results of all models, and their metrics with intervals.

    Args:
        preference_model, rl_model, reasoning_model: of the stages that ran.
        prior: where what is served ranks otherwise than the model by itself (`ServedModelConfig.changes_lists`); else
            None.
    """
    from rere.data.sequences import training_counts
    from rere.evaluation.breakdown import sparse_rows
    from rere.evaluation.checkpoints import evaluate_checkpoints
    from rere.evaluation.evaluator import evaluate as evaluate_rows
    from rere.evaluation.evaluator import summarise
    from rere.recommenders.alone import ItemModelAlone
    from rere.recommenders.labels import Label
    from rere.recommenders.reasoning import ReasoningRecommender
    from rere.recommenders.trained import Trained

    trained = Trained(sft_model, preference_model, rl_model)
    models, (label, served) = trained.by_label, trained.served
    inputs = (windows.fingerprint, catalogue_fingerprint(catalog), *(model.identity() for model in models.values()))
    with work_directory("evaluate", config.as_one(), *inputs, code_fingerprint(__name__)) as work:
        generative = evaluate_checkpoints(models, windows, catalog, config, work)
    tables = [baselines, generative]
    if reasoning_model is not None:
        reasoner = ReasoningRecommender.load(
            Label.REASONING, reasoning_model.path, catalog, batch_prompts=config.batch_prompts
        )
        tables.append(evaluate_rows(reasoner, windows.of("test"), catalog.index_of, config))
    if prior is not None and prior.alone:
        recommender = ItemModelAlone(Label.ALONE, prior, len(catalog.item_ids))
        tables.append(evaluate_rows(recommender, windows.of("test"), catalog.index_of, config))
    elif prior is not None and prior.changes_searches:
        boosted = Label.BOOSTED if label == Label.RL else Label.PREFERENCE_BOOSTED
        blended: dict[str, Checkpoint] = {Label.BLEND if prior.share else boosted: served}
        with work_directory("blend", config.as_one(), *inputs, prior.content(), code_fingerprint(__name__)) as work:
            tables.append(evaluate_checkpoints(blended, windows, catalog, config, work, prior=prior))
    results = pd.concat(tables, ignore_index=True)
    rows, counts = windows.of("test"), training_counts(dataset)
    of_items = dict(zip(catalog.item_ids, counts.tolist(), strict=True))
    metrics = summarise(results, config, counts, sparse_rows(rows, of_items))
    log_metadata({"rows": len(rows), "warm_rows": int(rows["warm"].sum())})
    return results, metrics
