"""The served model, as MLflow runs it (models from code: this file is the model's definition, no pickle).

Input: a table or dict with `history`: a list of item ids or titles a row, oldest first. Parameter `k`: list
length. Output, a row each: `item_ids`, `titles`, `scores` (log-probabilities), best first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

from rere.catalog.index import CatalogIndex
from rere.errors import RereError
from rere.serving.lookup import ItemLookup
from rere.serving.recommender import GenerativeRecommender

DEFAULT_K = 10


class ServedRecommender(PythonModel):
    """A sealed checkpoint and its catalogue behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        settings = context.model_config
        self.history_items = int(settings["history_items"])
        self.catalog = CatalogIndex.load(Path(context.artifacts["catalog"]))
        self.lookup = ItemLookup.of(self.catalog)
        self.recommender = GenerativeRecommender(
            "served",
            Path(context.artifacts["checkpoint"]),
            self.catalog,
            beams=int(settings["beams"]),
            normalisation=settings["normalisation"],
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Rank for each row.

        Raises:
            MlflowException: an unknown item or a `k` out of range; the server hands its message to the caller.
        """
        try:
            return self._rank(model_input, int((params or {}).get("k", DEFAULT_K)))
        except RereError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _rank(self, table: pd.DataFrame, k: int) -> pd.DataFrame:
        if k < 1:
            raise RereError("k of at least 1", str(k), "ask for one item or more; a small catalogue gives fewer")
        histories = [
            self.lookup.resolve_history(list(history)).items[-self.history_items :] for history in table["history"]
        ]
        ranking = self.recommender.recommend(histories, k)
        kept = [[item for item in row if item >= 0] for row in ranking.items.tolist()]
        return pd.DataFrame(
            {
                "item_ids": [[self.catalog.item_ids[item] for item in row] for row in kept],
                "titles": [[self.catalog.titles[item] for item in row] for row in kept],
                "scores": [row[: len(items)] for row, items in zip(ranking.scores.tolist(), kept, strict=True)],
            }
        )


mlflow.models.set_model(ServedRecommender())
