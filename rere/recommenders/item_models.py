"""The item models of a run: rivals to judge, and the teacher of a collaborative reward."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rere.artifacts.manifest import seal, verify
from rere.recommenders.item_model import ItemModel
from rere.recommenders.registry import model_type

LIST = "models.json"  # the models that are there for themselves: an ensemble's members lie beside them


class ItemModels:
    """Fitted models by kind."""

    def __init__(self, models: Mapping[str, ItemModel]) -> None:
        self.models = dict(models)

    def teacher(self, choice: str) -> str:
        """The kind that a setting names; `best` is the one with the best validation NDCG@10."""
        if choice != "best":
            return choice
        return max(self.models, key=lambda kind: self.models[kind].best_score())

    def only(self, kind: str) -> ItemModels:
        """The model of one kind."""
        return ItemModels({kind: self.models[kind]})

    def alone(self) -> ItemModel:
        """The model, where there is one."""
        [model] = self.models.values()
        return model

    def save(self, directory: Path) -> None:
        """Each model's files side by side, sealed as a whole."""
        directory.mkdir(parents=True, exist_ok=True)
        for model in self.models.values():
            model.write(directory)
        (directory / LIST).write_text(json.dumps(list(self.models)) + "\n", encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> ItemModels:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        kinds: list[str] = json.loads((directory / LIST).read_text(encoding="utf-8"))
        return cls({kind: model_type(kind).read(directory) for kind in kinds})
