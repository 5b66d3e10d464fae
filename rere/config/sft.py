"""Settings of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rere.config.base import Seed
from rere.config.training import Adaptation, FullFineTuning, InProcesses, Precision


class SFTConfig(InProcesses):
    rows: Literal["window", "sequence"] = Field(
        default="sequence",
        description="window: a row a target (the paper); sequence: one forward trains every target of a user",
    )
    adaptation: Adaptation = FullFineTuning()
    epochs: int = Field(default=4, ge=0, description="0: the base model as it is")
    learning_rate: float = Field(default=3e-3, gt=0)
    batch_tokens: int = Field(default=512, ge=1, description="trained tokens an update (effective batch)")
    device_batch_rows: int = Field(
        default=32, ge=1, description="rows a forward, shared out among processes; accumulation makes up the rest"
    )
    sequence_items: int = Field(default=60, ge=2, description="items a row at most when rows = sequence")
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: each process holds a part of the weights, gradients and optimiser state, for models that "
        "one device can't train (needs adaptation: full)",
    )
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    patience: int = Field(default=3, ge=1, description="epochs without a better validation loss")
    validation_rows: int = Field(default=2000, ge=1, description="validation windows judged an epoch, at most")
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: Seed = 0

    @model_validator(mode="after")
    def _shards_are_of_the_model(self) -> SFTConfig:
        if self.sharding == "fsdp" and self.adaptation.type != "full":
            raise ValueError("sharding: fsdp goes with adaptation: full; adapters are small enough for sharding: none")
        return self
