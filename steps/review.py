"""The promotion review: a page for the person who decides. `promote` puts the version's number in and hands it out."""

from __future__ import annotations

from typing import Annotated, Literal

import pandas as pd
from zenml import ArtifactConfig, step

from ops.registry.stages import Judged, Reviewed, StageMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.models.checkpoint import Checkpoint


@step(enable_cache=False, output_materializers=StageMaterializer)
def review(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    data_validation: ValidationReport,
    split_validation: ValidationReport,
    sft_model: Checkpoint,
    results: pd.DataFrame,
    champion_results: pd.DataFrame,
    judged: Judged,
    evaluation: EvaluationConfig,
    config: GateConfig,
    decided_by: Literal["gate", "review"],
    preference_model: Checkpoint | None = None,
    rl_model: Checkpoint | None = None,
) -> Annotated[Reviewed, ArtifactConfig(name="review")]:
    """Render it.

    Args:
        preference_model, rl_model: of the stages that ran.
    """
    from ops.gate.review import review_inputs
    from rere.recommenders.trained import Trained
    from rere.reporting.review import render_review

    inputs = review_inputs(
        judged,
        results,
        champion_results,
        dataset=dataset,
        windows=windows,
        catalog=catalog,
        validation=(data_validation, split_validation),
        trained=Trained(sft_model, preference_model, rl_model),
        evaluation=evaluation,
        gate=config,
        decided_by=decided_by,
    )
    return Reviewed(**dict(judged), page=render_review(inputs))
