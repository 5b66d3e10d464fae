"""Settings of the item models: rivals and teachers. A model's own settings stand in its file."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from rere.config.base import Seed, Settings
from rere.config.training import AnyLauncher, InProcesses
from rere.config.variants import OneOf, Variant

REGISTERED = OneOf("rere.recommenders.registry:settings_types")
ItemModelSettings = Annotated[Variant, REGISTERED]


class SequentialConfig(Variant):
    """What the settings of all neural item models have."""

    width: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    history_items: int = Field(
        default=10,
        ge=1,
        description="items looked at; as many as `windows.history_items`: longer rows rank worse there",
    )
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=128, ge=1, description="training rows per update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: Seed = 0


class CrossFit(Settings):
    """The teacher's answer on a training row comes from a model fitted without that row's user."""

    folds: int = Field(default=5, ge=2, description="of users: as many more fits of the teacher and of its members")


class ItemModelsConfig(InProcesses):
    """Which item models are fitted and judged beside the generative ones, and which one teaches."""

    model_config = ConfigDict(defer_build=True)

    renamed: ClassVar[dict[str, str]] = InProcesses.renamed | {
        kind: f"rivals: [{{type: {kind}, ...}}]" for kind in ("sasrec", "gru4rec", "caser")
    }

    rivals: tuple[ItemModelSettings, ...] = Field(
        default=("sasrec", "gru4rec", "caser", "ease", "item_knn", "co_occurrence", "title_knn", "ensemble"),
        validate_default=True,
        min_length=1,
        description="each by its name, or as {type: name, ...} with settings of its own",
    )
    teacher: str = Field(
        default="best",
        description="asked by the collaborative reward. best: the rival with the best validation NDCG@10; or a name: "
        "that rival, or, where it is none, that model with its defaults",
    )
    cross_fit: CrossFit | None = Field(
        default=None,
        description="{folds: 5}: the teacher answers for each fold of users by a model fitted without them; null: one "
        "model, fitted on all, answers for everybody",
    )
    launcher: AnyLauncher = Field(
        default={"type": "local", "processes": 2},
        validate_default=True,
        description="where networks are fitted side by side, each by one worker: they gain little from more cores",
    )

    @model_validator(mode="after")
    def _each_is_one(self) -> Self:
        types = [rival.type for rival in self.rivals]
        if len(set(types)) < len(types):
            raise ValueError(f"each rival once, got {', '.join(types)}")
        if self.teacher not in (known := ["best", *REGISTERED.types()]):
            raise ValueError(f"a teacher is one of {', '.join(known)}, got {self.teacher}")
        return self
