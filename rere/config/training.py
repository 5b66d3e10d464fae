"""Settings that the training stages share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from rere.config.base import Seed, Settings
from rere.config.variants import OneOf, Variant


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
LearningRateSchedule = Literal["cosine", "linear", "constant_with_warmup"]
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSettings(Settings):
    """How the weights of a language model are trained, whatever the objective."""

    adaptation: Adaptation = FullFineTuning()
    learning_rate: PositiveFloat
    lr_scheduler_type: LearningRateSchedule = Field(
        default="cosine", description="how the learning rate falls after warm-up; transformers' names"
    )
    warmup_share: Share = Field(default=0.03, description="of all updates, over which the learning rate rises")
    warmup_steps: NonNegativeInt | None = Field(default=None, description="updates in place of `warmup_share`")
    weight_decay: NonNegativeFloat = 0.0
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: Seed = 0

    def warmup(self, updates: int) -> int:
        """Updates over which the learning rate rises, of so many in all."""
        return round(self.warmup_share * updates) if self.warmup_steps is None else self.warmup_steps


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
    probe_rows: int = Field(
        default=300,
        ge=0,
        description="training rows that the stage saw, and as many that it doesn't visit, judged at each validation to "
        "show what is learned by heart; 0: none",
    )
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


class LauncherSettings(Variant):
    """What the settings of all launchers have."""

    @property
    @abstractmethod
    def starts_workers(self) -> bool:
        """Whether the stage runs in processes that are started for it, not in the one that asks."""

    @property
    @abstractmethod
    def on_gpus(self) -> bool:
        """Whether the stage runs on GPUs."""


AnyLauncher = Annotated[LauncherSettings, OneOf("rere.runtime.launchers.registry:LAUNCHERS")]


class InProcesses(Settings):
    """A stage that several workers can share: same batches, same result up to rounding, whatever their number."""

    model_config = ConfigDict(defer_build=True)

    renamed: ClassVar[dict[str, str]] = {"processes": "launcher: {type: local, processes: ...}"}

    launcher: AnyLauncher = Field(
        default="local",
        validate_default=True,
        description="where the workers run that share every batch: local: this machine; ray: a Ray cluster",
    )

    def as_one(self) -> Self:
        """These settings in one process of this machine: what determines the result."""
        return self.model_validate({**self.model_dump(), "launcher": "local"})
