"""The item models that a run fits: rivals to judge, and the teacher of a collaborative reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rere.artifacts.manifest import seal, verify
from rere.config.recommenders import ItemModelsConfig
from rere.recommenders.sequential.base import SCORE, SequentialRecommender
from rere.recommenders.sequential.caser import Caser, fit_caser
from rere.recommenders.sequential.gru4rec import GRU4Rec, fit_gru4rec
from rere.recommenders.sequential.sasrec import SASRec, fit_sasrec

KINDS: dict[str, tuple[type[SequentialRecommender], Any]] = {
    "sasrec": (SASRec, fit_sasrec),
    "gru4rec": (GRU4Rec, fit_gru4rec),
    "caser": (Caser, fit_caser),
}


class ItemModels:
    """Fitted models by kind."""

    def __init__(self, models: Mapping[str, SequentialRecommender]) -> None:
        self.models = dict(models)

    def teacher(self, choice: str) -> str:
        """The kind that a setting names; `best` is the one with the best validation NDCG@10."""
        if choice != "best":
            return choice
        return max(self.models, key=lambda kind: best_score(self.models[kind]))

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
        return cls({kind: KINDS[kind][0].read(directory) for kind in KINDS if (directory / f"{kind}.json").exists()})


def best_score(model: SequentialRecommender) -> float:
    """Validation NDCG@10 of the epoch that was kept."""
    return max(record[SCORE] for record in model.curves)


def fit_item_models(
    sequences: Sequence[np.ndarray],
    items: int,
    valid_histories: Sequence[Sequence[int]],
    valid_targets: Sequence[int],
    config: ItemModelsConfig,
) -> ItemModels:
    """Fit the rivals and the teacher, each once: see `fit_sequential` for the arguments."""
    kinds = [kind for kind in KINDS if kind in {*config.rivals, config.teacher}]
    rows = (sequences, items, valid_histories, valid_targets)
    return ItemModels({kind: KINDS[kind][1](*rows, getattr(config, kind)) for kind in kinds})
