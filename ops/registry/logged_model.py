"""The served model, as MLflow runs it (models from code: this file is the model's definition, no pickle).

Input: a table or dict with `history`: a list of item ids or titles per row, oldest first. Parameter `k`: list length.
Output, one row each: `item_ids`, `titles`, `scores` (log-probabilities), best first; `unknown`, the history's entries
that name no item and were left out; `problem`, why the lists are empty, "" where they aren't; `based_on`, `history`, or
`popularity` where nothing is known of the user, "" where the lists are empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

from rere.config.decoding import SearchSettings
from rere.errors import RereError
from rere.serving.engine.deployment import Query, Ranked
from rere.serving.engine.loading import load_deployment
from rere.serving.histories import read_history

DEFAULT_K = 10
ROWS_AT_ONCE = 64  # of like length, searched together


class ServedRecommender(PythonModel):
    """A sealed catalogue and prior, and the checkpoint of a language model, behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        settings = context.model_config
        checkpoint = context.artifacts.get("checkpoint")  # an item model has none
        self.deployment = load_deployment(
            "served",
            None if checkpoint is None else Path(checkpoint),
            Path(context.artifacts["catalog"]),
            history_items=int(settings["history_items"]),
            search=SearchSettings(beams=int(settings["beams"]), normalisation=settings["normalisation"]),
            prior=Path(context.artifacts["prior"]),
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
        asked = {row: self.deployment.query(items, k) for row, (items, _, problem) in enumerate(read) if not problem}
        ranked = self._searched(asked)
        items_of = [ranked[row].items if row in ranked else [] for row in range(len(read))]
        ids, titles = self.deployment.snapshot.ids, self.deployment.snapshot.titles
        return pd.DataFrame(
            {
                "item_ids": [[ids[item] for item in items] for items in items_of],
                "titles": [[titles[item] for item in items] for items in items_of],
                "scores": [ranked[row].scores if row in ranked else [] for row in range(len(read))],
                "unknown": [unknown for _, unknown, _ in read],
                "problem": [problem for _, _, problem in read],
                "based_on": [ranked[row].based_on if row in ranked else "" for row in range(len(read))],
            }
        )

    def _searched(self, asked: dict[int, Query]) -> dict[int, Ranked]:
        order = sorted(asked, key=lambda row: len(asked[row].history))
        ranked: dict[int, Ranked] = {}
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = order[start : start + ROWS_AT_ONCE]
            found = self.deployment.rank([asked[row] for row in rows])
            assert found is not None  # nothing asks to give up
            ranked.update(zip(rows, found, strict=True))
        return ranked

    def _read(self, history: object) -> tuple[list[int], list[str], str]:
        """Known items, unknown entries, and why there can be no answer."""
        try:
            resolved = self.deployment.snapshot.lookup.resolve(read_history(history))
        except RereError as error:
            return [], [], str(error)
        unknown = [entry for entry, _ in resolved.unknown]
        try:
            self.deployment.require_answerable(resolved)
        except RereError as error:
            return [], unknown, str(error)
        return resolved.items, unknown, ""


mlflow.models.set_model(ServedRecommender())
