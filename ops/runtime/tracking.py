"""Training curves to MLflow, where the active stack has an experiment tracker; else nowhere but the checkpoint."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

Log = Callable[[dict[str, float], int], None]


def mlflow_log(stage: str, settings: BaseModel) -> Log:
    """A function that logs `{metric: value}` at an update to the active MLflow run, prefixed by the stage."""
    import mlflow

    if mlflow.active_run() is None:
        return lambda metrics, update: None
    mlflow.log_params({f"{stage}.{name}": value for name, value in settings.model_dump(mode="json").items()})

    def log(metrics: dict[str, float], update: int) -> None:
        mlflow.log_metrics({f"{stage}/{name.replace('@', '_at_')}": value for name, value in metrics.items()}, update)

    return log
