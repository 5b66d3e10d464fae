"""The item models of a run: rivals to judge, and the teacher of a collaborative reward.

A kind's module is imported only when a model of that kind is read, so that what uses one kind doesn't depend on the
code of the others. A model's record holds the sum of its module instead (see `SequentialRecommender.write`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from rere.artifacts.manifest import seal, verify
from rere.recommenders.sequential.base import SCORE, SequentialRecommender

KINDS = {
    "sasrec": "rere.recommenders.sequential.sasrec:SASRec",
    "gru4rec": "rere.recommenders.sequential.gru4rec:GRU4Rec",
    "caser": "rere.recommenders.sequential.caser:Caser",
}


def model_type(kind: str) -> type[SequentialRecommender]:
    """The class of a kind's models."""
    module, name = KINDS[kind].split(":")
    found: type[SequentialRecommender] = getattr(importlib.import_module(module), name)
    return found


class ItemModels:
    """Fitted models by kind."""

    def __init__(self, models: Mapping[str, SequentialRecommender]) -> None:
        self.models = dict(models)

    def teacher(self, choice: str) -> str:
        """The kind that a setting names; `best` is the one with the best validation NDCG@10."""
        if choice != "best":
            return choice
        return max(self.models, key=lambda kind: best_score(self.models[kind]))

    def only(self, kind: str) -> ItemModels:
        """The model of one kind."""
        return ItemModels({kind: self.models[kind]})

    def save(self, directory: Path) -> None:
        """Each model's files side by side, sealed as a whole."""
        directory.mkdir(parents=True, exist_ok=True)
        for model in self.models.values():
            model.write(directory)
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> ItemModels:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        return cls({kind: model_type(kind).read(directory) for kind in KINDS if (directory / f"{kind}.json").exists()})


def best_score(model: SequentialRecommender) -> float:
    """Validation NDCG@10 of the epoch that was kept."""
    return max(record[SCORE] for record in model.curves)
