"""Settings that the training stages share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from rere.config.base import Seed, Settings


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
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSettings(Settings):
    """How the weights of a language model are trained, whatever the objective."""

    adaptation: Adaptation = FullFineTuning()
    learning_rate: PositiveFloat
    warmup_share: Share = 0.03
    weight_decay: NonNegativeFloat = 0.0
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: Seed = 0


class WindowPrefill(Settings):
    """Each prompt's history is run by itself."""

    type: Literal["window"] = "window"


class SequencePrefill(Settings):
    """A user's next prompts share one run of their histories, each seeing `windows.history_items` back (as SFT's rows
    by sequence). Several times fewer tokens, and prompts of fewer users in an update."""

    type: Literal["sequence"] = "sequence"
    prompts: int = Field(default=16, ge=1, description="of one user that share a run, at most")


Prefill = Annotated[WindowPrefill | SequencePrefill, Field(discriminator="type")]


class UpdateSettings(OptimiserSettings):
    """Training in updates of so many prompts, with validations and checkpoints in between."""

    renamed: ClassVar[dict[str, str]] = {"clip_gradient": "max_grad_norm"}

    updates: PositiveInt | None = Field(description="stop after so many; null: after `epochs`")
    epochs: PositiveInt
    prompts: int = Field(default=32, ge=1, description="prompts per update")
    device_batch_prompts: int = Field(
        default=32, ge=1, description="prompts per forward, of all processes; accumulation makes up the rest"
    )
    prefill: Prefill = Field(default=WindowPrefill(), description="how the histories of prompts are run")
    max_grad_norm: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=100, ge=1, description="updates between validations")
    validation_rows: int = Field(default=2000, ge=1, description="validation rows judged, at most")
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")

    @model_validator(mode="after")
    def _a_run_fits_a_forward(self) -> Self:
        most = min(self.prompts, self.device_batch_prompts)
        if isinstance(self.prefill, SequencePrefill) and self.prefill.prompts > most:
            raise ValueError(
                f"prefill.prompts ({self.prefill.prompts}) must be at most prompts ({self.prompts}) and "
                f"device_batch_prompts ({self.device_batch_prompts})"
            )
        return self


class InProcesses(Settings):
    """A stage that several processes can share: same batches, same result up to rounding, whatever their number."""

    processes: int = Field(
        default=1, ge=1, description="of one machine, a GPU each where there are any; they share every batch"
    )

    def as_one(self) -> Self:
        """These settings in one process: what determines the result."""
        return self.model_copy(update={"processes": 1})
