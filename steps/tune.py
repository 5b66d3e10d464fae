"""The trials of a study: other settings, trained and judged on validation rows, the best written as a configuration.

Always runs: a study goes on from its own record, and one that has all its trials only writes its page again.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from rich.console import Console
from zenml import ArtifactConfig, log_metadata, step
from zenml.types import HTMLString

from materializers.table import TableMaterializer
from ops.runtime.reports import write_report
from rere.artifacts.pins import pinned_values
from rere.catalog.index import CatalogIndex
from rere.config.tuning import TuningConfig
from rere.data.dataset import Dataset, Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels


@step(enable_cache=False, experiment_tracker=True, output_materializers={"trials": TableMaterializer})
def tune(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    config: TuningConfig,
    settings: dict[str, Any],
    start: dict[str, Any],
    catalog_sha256: str,
    rl_sha256: str,
    model_commits: dict[str, str],
    teacher: ItemModels | None = None,
    start_model: Checkpoint | None = None,
) -> tuple[
    Annotated[pd.DataFrame, ArtifactConfig(name="trials")],
    Annotated[str, ArtifactConfig(name="best_configuration")],
    Annotated[HTMLString, ArtifactConfig(name="tuning_report")],
]:
    """Run what is missing of the study; a killed one goes on.

    Args:
        settings: the run's, plain values by stage.
        start: the settings as they stand, in Optuna's words; empty where the space leaves them out.
        catalog_sha256, rl_sha256: content of what the settings name, see `ops.runtime.named`.
        model_commits: of models that a hub has under a branch; the trials, and the best configuration, have them.
        teacher, start_model: where the space changes nothing of them, those of all trials.
    """
    from ops.registry.mlflow_registry import require_tracker
    from ops.runtime.studies import study_directory
    from ops.runtime.trials import TrialRuns
    from rere.reporting.tuning import render_tuning
    from rere.tuning.result import result_of
    from rere.tuning.run import run_study
    from rere.tuning.study import StudySpec
    from rere.tuning.trial import TrialInputs, without_test

    require_tracker()
    kept, rows = without_test(dataset, windows)
    inputs = TrialInputs(kept, rows, catalog, teacher, start_model)
    spec = StudySpec(
        config=config,
        settings=pinned_values(settings, model_commits),
        start_model=start_model.path.resolve() if start_model else None,
        start=start or None,
    )
    directory = study_directory(spec, inputs, f"{catalog_sha256} {rl_sha256}")
    study = run_study(directory, spec, inputs, TrialRuns(config, directory.name))
    result = result_of(study, spec)
    configuration = result.configuration()
    file = write_report(configuration, "tuned", suffix="yaml")
    command = f"zenml pipeline run rere_pipeline -c {file}"
    page = HTMLString(render_tuning(result, f"Data: {dataset.report.source}.", configuration, command))
    path = write_report(page, "tuning")
    best = result.trials.iloc[result.best]
    console = Console(width=120, highlight=False, soft_wrap=True)
    console.print(
        f"\nStudy {config.study}: {result.count('judged')} trials judged, {result.count('pruned')} pruned, "
        f"{result.count('failed')} failed. Best: trial {best['number']}, {config.metric} {best['value']:.4f} on "
        f"validation rows ({result.gain()}).",
        markup=False,
    )
    for name, value in result.values(result.best).items():
        console.print(f"  {name}: {value!r}", markup=False)
    console.print(
        f"Tuning:     {path}\nSettings:   {file}\n\nNext:\n  train    {command}\n  trials   make mlflow",
        markup=False,
    )
    log_metadata(
        {
            "study": str(directory),
            "best_trial": int(best["number"]),
            config.metric: float(best["value"]),
            "trials": {outcome: result.count(outcome) for outcome in ("judged", "pruned", "failed")},
        }
    )
    return result.trials, configuration, page
