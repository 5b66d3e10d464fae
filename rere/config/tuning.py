"""Settings of tuning: what is tried, how often, and by what it is chosen."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, PositiveInt, model_validator

from rere.config.base import ModelName, Seed, Settings
from rere.config.promotion import RowMetric
from rere.config.reading import meant

Stage = Literal["catalog", "item_models", "sft", "preference", "rl"]
STAGES: tuple[Stage, ...] = (
    "catalog",
    "item_models",
    "sft",
    "preference",
    "rl",
)  # in the order in which a trial makes them
# Names by which a loss per token means else, or is measured at other points.
OTHER_LOSSES = ("catalog.code", "catalog.backbone", "sft.normalisation", "sft.validations_per_epoch")
Scale = Literal["linear", "log"]


class FloatRange(Settings):
    """A number from `low` to `high`."""

    type: Literal["float"] = "float"
    low: float
    high: float
    scale: Scale = Field(default="linear", description="log: every power of ten is tried as often; low is above 0")

    @model_validator(mode="after")
    def _low_to_high(self) -> Self:
        if self.low >= self.high or (self.scale == "log" and self.low <= 0):
            raise ValueError(f"a range goes up, on a log scale from above 0, got {self.low} to {self.high}")
        return self


class IntRange(Settings):
    """A whole number from `low` to `high`, in steps."""

    type: Literal["int"] = "int"
    low: int
    high: int
    step: int = Field(default=1, ge=1)
    scale: Scale = Field(default="linear", description="log: every power of ten is tried as often; step is 1, low >= 1")

    @model_validator(mode="after")
    def _low_to_high(self) -> Self:
        if self.low >= self.high or (self.high - self.low) % self.step:
            raise ValueError(f"a range goes up to `high` in whole steps, got {self.low} to {self.high} by {self.step}")
        if self.scale == "log" and (self.low < 1 or self.step != 1):
            raise ValueError(f"on a log scale step is 1 and low at least 1, got {self.step} and {self.low}")
        return self


class Choices(Settings):
    """One of some values, of whatever type the setting takes: numbers, words, null, lists, mappings."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[JsonValue, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if any(choice in self.choices[:n] for n, choice in enumerate(self.choices)):
            raise ValueError(f"each choice once, got {list(self.choices)}")
        return self


Range = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]


class MedianPruning(Settings):
    """A trial ends early where its best validation so far is worse than the median of the others' at that point."""

    type: Literal["median"] = "median"
    startup_trials: int = Field(default=5, ge=1, description="trials that go on to their end before any is pruned")


class TuningConfig(Settings):
    """A study: trials of other settings, each trained and judged on validation rows; test rows are never looked at."""

    study: ModelName = Field(default="tuning", description="its name; another one starts anew")
    stage: Literal["item_models", "sft", "preference", "rl"] = Field(
        default="sft",
        description="what a trial trains up to, and what is judged: the item model, or the language model",
    )
    metric: RowMetric = Field(
        default="ndcg@10",
        description="what is to be as high as can be, on half of the validation users; the other half confirms it",
    )
    validation_rows: int = Field(
        default=2_000, ge=1, description="validation rows of each half that are judged at most"
    )
    trials: PositiveInt = Field(default=20, description="of the whole study; one that is to go on gets a higher number")
    processes: PositiveInt = Field(
        default=1, description="trials at a time, each in a process with its part of the cores"
    )
    sampler: Literal["tpe", "random"] = Field(
        default="tpe", description="tpe: where earlier trials were good (tree-structured Parzen estimator), after ten"
    )
    pruning: MedianPruning | None = Field(default=MedianPruning(), description="null: every trial goes on to its end")
    seed: Seed = 0
    space: dict[str, Range] = Field(
        default={
            "sft.learning_rate": FloatRange(low=8e-4, high=8e-3, scale="log"),
            "sft.distillation.temperature": FloatRange(low=0.2, high=1.0),
            "sft.distillation.altered_rows": FloatRange(low=0.0, high=4.0),
        },
        min_length=1,
        description="what is tried, by the setting's dotted name; a member of a list by its `type` or number",
    )

    @property
    def first_stage(self) -> Stage:
        """The first stage that the space changes; what comes before it is made once, for all trials."""
        return min((_stage_of(name) for name in self.space), key=STAGES.index)

    def prunes(self, stage: Stage) -> bool:
        """Whether a stage's validations may prune: losses only where they mean the same in all trials."""
        return not (stage == "sft" and any(name.startswith(OTHER_LOSSES) for name in self.space))

    @model_validator(mode="after")
    def _stages_of_a_trial(self) -> Self:
        made = STAGES[: STAGES.index(self.stage) + 1]
        for name in self.space:
            stage = name.partition(".")[0]
            if stage not in STAGES:
                raise ValueError(
                    f"a trial can change settings of {', '.join(STAGES)}, got {name}{meant(stage, STAGES)}"
                )
            if stage not in made:
                raise ValueError(f"{name} changes nothing in a trial that ends with `stage: {self.stage}`")
        return self


def _stage_of(name: str) -> Stage:
    return next(stage for stage in STAGES if stage == name.partition(".")[0])
