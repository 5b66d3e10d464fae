"""Settings of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from rere.config.base import Settings
from rere.config.decoding import Normalisation
from rere.config.training import InProcesses, OptimiserSettings, Share


class LabelsAfter(Settings):
    """Another fine-tuning, on the labels alone: a model that only learned its teacher has nothing to add to it."""

    epochs: int = Field(default=1, ge=1)
    learning_rate: PositiveFloat = 1e-3


class Distillation(Settings):
    """The item models' teacher (`item_models.teacher`) gives its probability of every item as a second target."""

    weight: float = Field(
        default=1.0, gt=0, le=1, description="the teacher's part of the loss on real histories; the label has the rest"
    )
    temperature: float = Field(
        default=0.4,
        gt=0,
        description="of the teacher's and the model's distributions in this target; below 1 the top counts for more",
    )
    altered_rows: float = Field(
        default=3.0,
        ge=0,
        description="rows of altered histories per real one: items left out, replaced by new ones, in another order, "
        "two users mixed; what comes next nobody knows, so only the teacher is asked",
    )
    labels_after: LabelsAfter | None = Field(
        default=None,
        description="{epochs: 1, learning_rate: 0.001}: then so long on the labels alone; a blend with the teacher "
        "gains by it, the model alone may lose",
    )


class Alignment(Settings):
    """Each epoch has a row for each item that asks for its code by its title, and one for its title by its code."""

    title_to_code: float = Field(
        default=1.0, ge=0, description="weight of a token asked for, where one of a next item counts 1; 0: no such rows"
    )
    code_to_title: float = Field(default=1.0, ge=0, description="the same for titles")
    text_to_code: float = Field(
        default=0.0, ge=0, description="the same for codes, asked for by title and `catalog.text_columns`"
    )

    @model_validator(mode="after")
    def _something_is_asked(self) -> Alignment:
        if not (self.title_to_code or self.code_to_title or self.text_to_code):
            raise ValueError("alignment needs a weight above 0; `alignment: null` is without")
        return self


class SFTConfig(InProcesses, OptimiserSettings):
    rows: Literal["window", "sequence"] = Field(
        default="sequence",
        description="window: a row per target (the paper); sequence: one forward trains every target of a user",
    )
    kept_users: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the users that fine-tuning leaves to RL (`rl.rows: {type: kept_users}`), by their ids",
    )
    normalisation: Normalisation = Field(
        default="trie",
        description="a label's probability over the vocabulary (the paper), or over what the catalogue allows there",
    )
    distillation: Distillation | None = Field(
        default=Distillation(), description="null: labels alone (it needs rows: sequence and normalisation: trie)"
    )
    alignment: Alignment | None = Field(
        default=None,
        description="rows that teach a pretrained backbone what codes of new tokens mean (code: semantic or file)",
    )
    epochs: int = Field(default=5, ge=0, description="0: the base model as it is")
    learning_rate: PositiveFloat = 2.5e-3
    warmup_share: Share = 0.05
    weight_decay: NonNegativeFloat = 0.01
    batch_tokens: int = Field(default=512, ge=1, description="trained tokens per update (effective batch)")
    device_batch_rows: int = Field(
        default=32, ge=1, description="rows per forward, of all processes; accumulation makes up the rest"
    )
    sequence_items: int = Field(default=60, ge=2, description="items per row at most when rows = sequence")
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: each process holds a part of the weights, gradients and optimiser state, for models that "
        "one device can't train (needs adaptation: full)",
    )
    validations_per_epoch: int = Field(default=1, ge=1, description="at equal distances, the last at the epoch's end")
    patience: int = Field(default=3, ge=1, description="validations in a row without a better loss, then it stops")
    validation_rows: int = Field(default=2000, ge=1, description="validation windows judged each time, at most")

    @model_validator(mode="after")
    def _distillation_is_over_the_catalogue(self) -> SFTConfig:
        if self.distillation and (self.rows, self.normalisation) != ("sequence", "trie"):
            raise ValueError("distillation goes with rows: sequence and normalisation: trie")
        if self.normalisation == "trie" and self.sharding == "fsdp":
            raise ValueError("sharding: fsdp goes with normalisation: vocab, for which no process needs the whole head")
        return self

    @model_validator(mode="after")
    def _alignment_needs_the_whole_head(self) -> SFTConfig:
        if self.alignment and self.sharding == "fsdp":
            raise ValueError("alignment goes with sharding: none")
        return self

    @model_validator(mode="after")
    def _shards_are_of_the_model(self) -> SFTConfig:
        if self.sharding == "fsdp" and self.adaptation.type != "full":
            raise ValueError("sharding: fsdp goes with adaptation: full; adapters are small enough for sharding: none")
        return self
