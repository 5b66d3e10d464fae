"""What every item model gives: a fit, a ranking, and its files. A model of items alone reads no text."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rere.artifacts.manifest import fingerprint, seal, sha256, verify
from rere.config.variants import Variant
from rere.evaluation.metrics import ndcg, target_ranks
from rere.recommenders.base import Ranking, Recommender

SCORE = "valid_ndcg@10"


@dataclass(frozen=True)
class FitData:
    """What item models are fitted on; items are indices over the catalogue.

    sequences: each user's training items, oldest first
    items: size of the catalogue, I
    valid_histories, valid_targets: the validation rows
    """

    sequences: Sequence[np.ndarray]
    items: int
    valid_histories: Sequence[Sequence[int]]
    valid_targets: Sequence[int] | np.ndarray

    def score(self, recommender: Recommender) -> float:
        """Mean NDCG@10 on the validation rows."""
        ranking = recommender.recommend(self.valid_histories, 10)
        return float(ndcg(target_ranks(ranking.items, np.asarray(self.valid_targets)), 10).mean())


class ItemModel(ABC):
    """A fitted item model, a `Recommender`.

    Args:
        items: size of the catalogue, I.
        curves: records of the fit, one or more, each with the validation NDCG@10 as `valid_ndcg@10`.
        name: how results are labelled; the class's `title` unless given.
    """

    title: ClassVar[str]
    config_type: ClassVar[type[Variant]]

    def __init__(
        self, items: int, config: Any, curves: Sequence[dict[str, float]] = (), name: str | None = None
    ) -> None:
        self.items, self.config, self.curves = items, config, list(curves)
        self.name = name or self.title

    @classmethod
    def kind(cls) -> str:
        """The name of its settings, and stem of its files."""
        return cls.config_type.type_name()

    @classmethod
    @abstractmethod
    def fit(cls, data: FitData, config: Any) -> Self:
        """Fit to `data`, deterministically, with the validation NDCG@10 on record in `curves`."""

    @abstractmethod
    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`. As a teacher its scores count as log-probabilities, up to a constant per row."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """All that was fitted."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], items: int, config: Any) -> Self:
        """The model whose `tensors` these are, on the CPU."""

    def best_score(self) -> float:
        """Validation NDCG@10 of what was kept."""
        return max(record[SCORE] for record in self.curves)

    def code(self) -> str:
        """SHA-256 of the project's files that the model's classes are in."""
        return source_sum(type(self))

    def save(self, directory: Path) -> None:
        """Weights as safetensors, settings and curves as JSON; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        self.write(directory)
        seal(directory)

    def write(self, directory: Path) -> None:
        """Its two files, whose names no other kind of model has.

        The record holds the sum of the code that the model is made by: who asks the model depends on that code too.
        """
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        save_file(weights, directory / f"{self.kind()}.safetensors")
        record = {
            "items": self.items,
            "config": self.config.model_dump(mode="json"),
            "curves": self.curves,
            "code": self.code(),
        }
        (directory / f"{self.kind()}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        return cls.read(directory)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote."""
        record = json.loads((directory / f"{cls.kind()}.json").read_text(encoding="utf-8"))
        config = cls.config_type.model_validate(record["config"])
        model = cls.from_tensors(load_file(directory / f"{cls.kind()}.safetensors"), record["items"], config)
        model.curves = record["curves"]
        return model


def source_sum(*classes: type) -> str:
    """SHA-256 over the files of classes and of what they inherit from, without those of installed packages."""
    package = __name__.split(".")[0]
    inherited = {base for one in classes for base in one.__mro__}
    own = {base.__module__: base for base in inherited if base in classes or base.__module__.split(".")[0] == package}
    return fingerprint({module: sha256(Path(inspect.getfile(one))) for module, one in own.items()})
