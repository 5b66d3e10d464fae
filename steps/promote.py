"""Register the model: `challenger` always, `champion` when the gate passed.

Last of all: see `ops.registry.registration` for what is registered in which order, and `ops.registry.promotion` for who
becomes champion.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pandas as pd
from zenml import ArtifactConfig, step
from zenml.types import HTMLString

from ops.registry import mlflow_registry as registry
from ops.registry.stages import Promoted, Reviewed, StageMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.errors import without_passwords
from rere.models.checkpoint import Checkpoint
from rere.recommenders.prior import Prior

EXAMPLE_ITEMS = 2  # in the request that a run suggests


@step(enable_cache=False, experiment_tracker=True, output_materializers=StageMaterializer)
def promote(
    *,
    dataset: Dataset,
    sft_model: Checkpoint,
    catalog: CatalogIndex,
    prior: Prior,
    windows: Windows,
    metrics: pd.DataFrame,
    report: HTMLString,
    review: Reviewed,
    evaluation: EvaluationConfig,
    decided_by: Literal["gate", "review"],
    preference_model: Checkpoint | None = None,
    rl_model: Checkpoint | None = None,
) -> Annotated[Promoted, ArtifactConfig(name="promotion")]:
    """Register in MLflow, and as a ZenML Model version that links the run and all that it made.

    Args:
        preference_model, rl_model: of the stages that ran.
    """
    import mlflow

    from ops.registry.promotion import promote_by_gate
    from ops.registry.registration import RunOutputs, register
    from ops.registry.zenml_registry import tag_run
    from rere.recommenders.trained import Trained

    outputs = RunOutputs(
        dataset=dataset,
        windows=windows,
        catalog=catalog,
        trained=Trained(sft_model, preference_model, rl_model),
        prior=prior,
        metrics=metrics,
        evaluation=evaluation,
    )
    version = register(outputs, review, report)
    outcome = promote_by_gate(review, version, decided_by)
    gate = "passed" if review.verdict.passed else "failed"
    aliases = (registry.CHALLENGER, *([registry.CHAMPION] if outcome.is_champion else []))
    tag_run([f"model: {review.model}", f"version: {version}", f"gate: {gate}", aliases[-1]])
    return Promoted(
        **dict(review) | {"page": review.page_of(version)},
        version=version,
        aliases=aliases,
        tracking_uri=without_passwords(mlflow.get_tracking_uri()),
        waits=outcome.waits,
        example=tuple(map(str, windows.of("test")["history"].iloc[0]))[-EXAMPLE_ITEMS:],
    )
