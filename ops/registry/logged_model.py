"""The served model, as MLflow runs it (models from code: this file is the model's definition, no pickle).

Input: a table or dict with `history`: a list of item ids or titles per row, oldest first. Parameter `k`: list length.
Output, one row each: `item_ids`, `titles`, `scores` (log-probabilities), best first; `unknown`, the history's entries
that name no item and were left out; `problem`, why the lists are empty, "" where they aren't.
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
from rere.recommenders.generative import GenerativeRecommender
from rere.serving.histories import read_history
from rere.serving.item_resolver import ItemLookup

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
            MlflowException: a `k` out of range; the server hands its message to the caller.
        """
        try:
            return self._rank(model_input, int((params or {}).get("k", DEFAULT_K)))
        except RereError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _rank(self, table: pd.DataFrame, k: int) -> pd.DataFrame:
        if k < 1:
            raise RereError("k of at least 1", str(k), "ask for one item or more; a small catalogue gives fewer")
        read = [self._read(history) for history in table["history"]]
        asked = [row for row, (_, _, problem) in enumerate(read) if not problem]
        answers: dict[int, tuple[list[int], list[float]]] = {}
        if asked:
            ranking = self.recommender.recommend([read[row][0] for row in asked], k)
            for row, items, scores in zip(asked, ranking.items.tolist(), ranking.scores.tolist(), strict=True):
                count = sum(item >= 0 for item in items)
                answers[row] = items[:count], scores[:count]
        lists = [answers.get(row, ([], [])) for row in range(len(read))]
        return pd.DataFrame(
            {
                "item_ids": [[self.catalog.item_ids[item] for item in items] for items, _ in lists],
                "titles": [[self.catalog.titles[item] for item in items] for items, _ in lists],
                "scores": [scores for _, scores in lists],
                "unknown": [unknown for _, unknown, _ in read],
                "problem": [problem for _, _, problem in read],
            }
        )

    def _read(self, history: object) -> tuple[list[int], list[str], str]:
        """Item indices that the model reads, unknown entries, and why there can be no answer."""
        try:
            resolved = self.lookup.resolve(read_history(history))
        except RereError as error:
            return [], [], str(error)
        unknown = [entry for entry, _ in resolved.unknown]
        try:
            resolved.require_any()
        except RereError as error:
            return [], unknown, str(error)
        return resolved.items[-self.history_items :], unknown, ""


mlflow.models.set_model(ServedRecommender())
