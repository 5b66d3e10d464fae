"""What an alias of the MLflow registry names now, loaded for serving."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ops.registry import mlflow_registry as registry
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.loading import load_deployment


class AliasSource:
    """A `rere.serving.engine.follow.Source`: versions of one registered model, by alias."""

    def __init__(self, model: str, alias: str, config: ServingConfig | None = None) -> None:
        """Without a `config`, as in batch inference, searches share nothing and look no further ahead."""
        self.model, self.alias = model, alias
        self.config = config or ServingConfig(prefix_tokens=0, lookahead_tokens=0)

    def current(self) -> str | None:
        """The version that the alias names; None where there is no such model or alias."""
        try:
            return str(MlflowClient().get_model_version_by_alias(self.model, self.alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def load(self, version: str) -> Deployment:
        """Fetch a version and load it; raises RereError where its files are altered or incomplete."""
        with registry.fetched(self.model, version) as found:
            return load_deployment(
                version,
                found.checkpoint,
                found.catalog,
                history_items=int(found.settings["history_items"]),
                search=self.config.search(int(found.settings["beams"]), found.settings["normalisation"]),
                prior=found.prior,
                precision=self.config.precision,
            )

    def first(self) -> Deployment:
        """The present version; raises RereError where there is none."""
        return self.load(self.require())

    def require(self) -> str:
        """`current`; raises RereError where there is none."""
        version = self.current()
        if version is None:
            raise RereError(
                f"a version of {self.model!r} with the alias {self.alias!r} in the MLflow registry",
                "none",
                "run `make demo` (or your pipeline) first, and `source .venv/bin/activate`, which sets the registry",
            )
        return version
