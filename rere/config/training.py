"""Settings that the training stages share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from rere.config.base import Settings


class FullFineTuning(Settings):
    type: Literal["full"] = "full"


class LoRA(Settings):
    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


Adaptation = Annotated[FullFineTuning | LoRA, Field(discriminator="type")]

Precision = Literal["float32", "bfloat16"]


class InProcesses(Settings):
    """A stage that several processes can share: same batches, same result up to rounding, whatever their number."""

    processes: int = Field(
        default=1, ge=1, description="of one machine, a GPU each where there are any; they share every batch"
    )

    def as_one(self) -> Self:
        """These settings in one process: what determines the result."""
        return self.model_copy(update={"processes": 1})
