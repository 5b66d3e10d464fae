"""Settings of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from rere.config.training import InProcesses, OptimiserSettings, Share


class SFTConfig(InProcesses, OptimiserSettings):
    rows: Literal["window", "sequence"] = Field(
        default="sequence",
        description="window: a row per target (the paper); sequence: one forward trains every target of a user",
    )
    epochs: int = Field(default=4, ge=0, description="0: the base model as it is")
    learning_rate: PositiveFloat = 3e-3
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
    patience: int = Field(default=3, ge=1, description="epochs without a better validation loss")
    validation_rows: int = Field(default=2000, ge=1, description="validation windows judged per epoch, at most")

    @model_validator(mode="after")
    def _shards_are_of_the_model(self) -> SFTConfig:
        if self.sharding == "fsdp" and self.adaptation.type != "full":
            raise ValueError("sharding: fsdp goes with adaptation: full; adapters are small enough for sharding: none")
        return self
