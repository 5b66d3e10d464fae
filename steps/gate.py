"""May the new model reach users? Judged on the same test rows as popularity and as the present champion.

Always runs: who the champion is, only the registry knows.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import ArtifactConfig, step

from materializers.table import TableMaterializer
from ops.registry.recipe import recorded
from ops.registry.stages import Judged, StageMaterializer
from ops.runtime.base_record import BaseRecord
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.models.checkpoint import Checkpoint
from rere.recommenders.prior import Prior


@step(
    enable_cache=False,
    experiment_tracker=True,
    output_materializers={"judged": StageMaterializer, "champion_results": TableMaterializer},
)
def gate(
    *,
    language_model: Checkpoint,
    catalog: CatalogIndex,
    prior: Prior,
    dataset: Dataset,
    windows: Windows,
    data_validation: ValidationReport,
    split_validation: ValidationReport,
    results: pd.DataFrame,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
    settings: dict[str, Any],
    named: dict[str, str],
    data_commits: dict[str, str],
    model_commits: dict[str, str],
    submitted: dict[str, Any],
    base: BaseRecord | None = None,
) -> tuple[
    Annotated[Judged, ArtifactConfig(name="judged")],
    Annotated[pd.DataFrame, ArtifactConfig(name="champion_results")],
]:
    """Judge what would be served: the language model, the blend, or an item model; see `ops.gate.judge`."""
    from ops.gate.candidate import Candidate
    from ops.gate.judge import judge

    candidate = Candidate(
        model=None if prior.alone else language_model,
        prior=prior,
        catalog=catalog,
        dataset=dataset,
        windows=windows,
        evaluation=evaluation,
    )
    judged, champion_results = judge(
        candidate,
        results,
        config,
        data_validation=data_validation,
        split_validation=split_validation,
        settings=recorded(settings, named=named, data=data_commits, models=model_commits),
        submitted=submitted,
        base=None if base is None else base.version,
    )
    return judged, champion_results  # a tuple as such: ZenML reads it from the source
