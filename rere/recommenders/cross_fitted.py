"""A teacher that never saw the users it answers for: K members, each fitted without the users of one fold.

Out-of-fold answers (Wolpert, "Stacked generalization", 1992; "cross-fitting" in Chernozhukov et al., 2018): a model
knows the rows that it was fitted on by heart, and what it says of them isn't what it would say of others.

Axes: P histories, I items.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field

from rere.artifacts.manifest import fingerprint
from rere.config.variants import Variant
from rere.data.user_draws import fold_of
from rere.errors import RereError
from rere.recommenders.base import Recommender
from rere.recommenders.item_model import SCORE, FitData, ItemModel, item_log_probs
from rere.recommenders.registry import model_type

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class CrossFittedConfig(Variant):
    """What was cross-fitted; nobody chooses it by name: see `item_models.cross_fit`."""

    type: Literal["cross_fitted"] = "cross_fitted"
    teacher: str = Field(description="kind of its members")
    folds: int = Field(ge=2)


class CrossFitted(ItemModel):
    """Members of one kind; member k was fitted without the users of fold k (see `fold_of`).

    It can be asked for histories whose users' folds are given, and for no others.
    """

    title = "cross-fitted teacher"
    config_type = CrossFittedConfig

    def __init__(self, members: Sequence[ItemModel], config: CrossFittedConfig) -> None:
        curves = [{"fold": float(fold), SCORE: member.best_score()} for fold, member in enumerate(members)]
        super().__init__(members[0].items, config, curves)
        self.members = list(members)

    @classmethod
    def of(cls, members: Sequence[ItemModel]) -> Self:
        """The teacher with these members, one for each fold."""
        return cls(members, CrossFittedConfig(teacher=members[0].kind(), folds=len(members)))

    def log_probs_without(
        self, histories: Sequence[Sequence[int]], folds: Sequence[int] | Int[np.ndarray, " P"]
    ) -> Float[np.ndarray, "P I"]:
        """(P, I) float32 log-probabilities (nats), each by the member that saw nobody of the history's fold."""
        own = np.asarray(folds, dtype=np.int64)
        found = np.empty((len(histories), self.items), dtype=np.float32)
        for fold in sorted(set(own.tolist())):
            rows = np.flatnonzero(own == fold).tolist()
            found[rows] = self.members[fold].log_probs([histories[row] for row in rows])
        return found

    @classmethod
    def fit(cls, data: FitData, config: Any) -> Self:
        """Its members are fitted, each on its own data: see `rere.recommenders.fitting.fit_teacher`."""
        raise RereError("fitted members", "data", "use `fit_teacher`")

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """Refused, and with it `recommend`: which member may answer depends on the history's user."""
        raise RereError(
            "the folds of the histories' users, for a cross-fitted teacher",
            "histories alone",
            "ask by `log_probs_without`",
        )

    def content(self) -> str:
        """A digest of its members' files."""
        return fingerprint({str(fold): member.content() for fold, member in enumerate(self.members)})

    def write(self, directory: Path) -> None:
        """A record, and each member's files in a directory of its own."""
        record = {"config": self.config.model_dump(mode="json")}
        (directory / f"{self.kind()}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for fold, member in enumerate(self.members):
            _place(directory, fold).mkdir(exist_ok=True)
            member.write(_place(directory, fold))

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote."""
        record = json.loads((directory / f"{cls.kind()}.json").read_text(encoding="utf-8"))
        config = CrossFittedConfig.model_validate(record["config"])
        kind = model_type(config.teacher)
        return cls([kind.read(_place(directory, fold)) for fold in range(config.folds)], config)

    def tensors(self) -> dict[str, torch.Tensor]:
        """None of its own."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], items: int, config: Any) -> Self:
        """Not enough: use `read`."""
        raise RereError("a cross-fitted teacher's files and its members'", "tensors alone", "use `CrossFitted.read`")


def folds_for(teacher: Recommender | None, users: Iterable[str]) -> Int[np.ndarray, " N"] | None:
    """(N,) the fold of each row's user, for a teacher that asks for it; None for one that answers all users alike."""
    return fold_of(users, teacher.config.folds) if isinstance(teacher, CrossFitted) else None


def teacher_log_probs(
    teacher: Recommender,
    histories: Sequence[Sequence[int]],
    items: int,
    folds: Sequence[int] | Int[np.ndarray, " P"] | None,
) -> Float[Tensor, "P I"]:
    """(P, items) float64 log-probabilities; `folds` as `folds_for` gives them, of these histories."""
    if folds is None:
        return item_log_probs(teacher, histories, items)
    assert isinstance(teacher, CrossFitted)
    return torch.from_numpy(teacher.log_probs_without(histories, folds)).double()


def _place(directory: Path, fold: int) -> Path:
    return directory / f"without_fold_{fold}"
