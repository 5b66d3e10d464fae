"""Settings and training curves to MLflow, where the active stack has an experiment tracker; else nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from rere.reporting.flat import flat

Log = Callable[[dict[str, float], int], None]
PARAMS_AT_ONCE = 100  # MLflow's limit of a request


def mlflow_log(stage: str, settings: BaseModel) -> Log:
    """A function that logs `{metric: value}` at an update to the active MLflow run, prefixed by the stage."""
    import mlflow

    if mlflow.active_run() is None:
        return lambda metrics, update: None
    log_settings({stage: settings.model_dump(mode="json")})

    def log(metrics: dict[str, float], update: int) -> None:
        mlflow.log_metrics({metric_name(stage, name): value for name, value in metrics.items()}, update)

    return log


def metric_name(*parts: str) -> str:
    """As MLflow takes it: `test/ReRe/ndcg_at_10`."""
    return "/".join(re.sub(r"[^\w\-. ]", "_", part.replace("@", "_at_")) for part in parts)


def log_settings(settings: Mapping[str, Any]) -> None:
    """Every setting by stage as a parameter of the active run, `rl.learning_rate`; those that it has already stay."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None  # asked before
    client = mlflow.MlflowClient()
    known = client.get_run(run.info.run_id).data.params
    named = {metric_name(name): str(value) for name, value in flat(settings)}
    new = [mlflow.entities.Param(name, value) for name, value in named.items() if name not in known]
    for start in range(0, len(new), PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=new[start : start + PARAMS_AT_ONCE])
