"""What every item model gives: a fit, a ranking, and its files. A model of items alone reads no text."""

from __future__ import annotations

import inspect
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rere.artifacts.manifest import fingerprint, seal, sha256, verify
from rere.config.variants import Variant
from rere.data.user_draws import fold_of
from rere.recommenders.base import Ranking, Recommender
from rere.recommenders.rankings import mean_ndcg, rank_by, ranking_log_probs

SCORE = "valid_ndcg@10"
FitLog = Callable[[str, dict[str, float]], None]  # a model's kind, and a record of its fit


def _untold(kind: str, record: dict[str, float]) -> None:
    """Nobody follows the fit."""


@dataclass(frozen=True)
class FitData:
    """What item models are fitted on; items are indices over the catalogue.

    sequences: each user's training items, oldest first
    items: size of the catalogue, I
    valid_histories, valid_targets: the validation rows
    fitted: by kind, the models that were fitted before because this one's settings name them (see `ItemModel.needs`)
    log: called with each record of `ItemModel.curves` as it comes, of fits in this process
    titles: each item's, for models that read them
    users: each sequence's, for a teacher that is cross-fitted
    """

    sequences: Sequence[np.ndarray]
    items: int
    valid_histories: Sequence[Sequence[int]]
    valid_targets: Sequence[int] | np.ndarray
    fitted: Mapping[str, ItemModel] = field(default_factory=dict)
    log: FitLog = _untold
    titles: Sequence[str] = ()
    users: Sequence[str] = ()

    def without(self, fold: int, folds: int) -> FitData:
        """The same without the sequences of the users of one of so many folds; nobody follows a fit on it."""
        kept = np.flatnonzero(fold_of(self.users, folds) != fold).tolist()
        sequences, users = [self.sequences[row] for row in kept], [self.users[row] for row in kept]
        return replace(self, sequences=sequences, users=users, fitted={}, log=_untold)

    def save(self, directory: Path) -> None:
        """Write all but `fitted` and `log`, sealed: lists of rows as their items and where each row ends."""
        directory.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "items": np.array(self.items),
            "valid_targets": np.asarray(self.valid_targets, dtype=np.int64),
            "titles": np.array(self.titles, dtype=np.str_),
            "users": np.array(self.users, dtype=np.str_),
        }
        for name, rows in (("sequences", self.sequences), ("valid_histories", self.valid_histories)):
            arrays[name] = np.concatenate([np.empty(0, dtype=np.int64), *(np.asarray(r, dtype=np.int64) for r in rows)])
            arrays[f"{name}_ends"] = np.cumsum([len(row) for row in rows], dtype=np.int64)
        np.savez(directory / "fit_data.npz", **arrays)
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> FitData:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        with np.load(directory / "fit_data.npz", allow_pickle=False) as arrays:
            sequences = np.split(arrays["sequences"], arrays["sequences_ends"])[:-1]
            histories = [
                row.tolist() for row in np.split(arrays["valid_histories"], arrays["valid_histories_ends"])[:-1]
            ]
            words = {name: arrays[name].tolist() for name in ("titles", "users")}
            return cls(sequences, int(arrays["items"]), histories, arrays["valid_targets"], **words)

    def score(self, recommender: Recommender) -> float:
        """Mean NDCG@10 on the validation rows."""
        return mean_ndcg(recommender, self.valid_histories, self.valid_targets)


class ItemModel(ABC):
    """A fitted item model, a `Recommender`.

    Args:
        items: size of the catalogue, I.
        curves: records of the fit, one or more, each with the validation NDCG@10 as `valid_ndcg@10`.
        name: how results are labelled; the class's `title` unless given.
    """

    title: ClassVar[str]
    config_type: ClassVar[type[Variant]]
    reads_titles: bool = False  # so it has an opinion on items that nobody took in the training period

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
    def needs(cls, config: Any) -> tuple[str, ...]:
        """Kinds of item models that must be fitted before one with these settings."""
        return ()

    @classmethod
    @abstractmethod
    def fit(cls, data: FitData, config: Any) -> Self:
        """Fit to `data`, deterministically, with the validation NDCG@10 on record in `curves`."""

    @abstractmethod
    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """(P, I) float32 log-probabilities (nats) of every item after each history."""

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; scores are log-probabilities (nats)."""
        return rank_by(self.log_probs, histories, k, self.items)

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

    def content(self) -> str:
        """A digest of its files: settings, weights and code."""
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            self.write(directory)
            return fingerprint({path.name: sha256(path) for path in sorted(directory.iterdir())})

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


def item_log_probs(recommender: Recommender, histories: Sequence[Sequence[int]], items: int) -> torch.Tensor:
    """(P, items) float64 log-probabilities: an item model's own; of others a softmax over the whole ranking's scores.

    Raises:
        RereError: a row without a finite score, or an item that the catalogue lacks.
    """
    if isinstance(recommender, ItemModel) and recommender.items == items:
        return torch.from_numpy(recommender.log_probs(histories)).double()
    return torch.from_numpy(ranking_log_probs(recommender.recommend(histories, items), items, recommender.name))
