"""Settings of preference optimisation (DPO, S-DPO)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from rere.config.base import Seed, Settings
from rere.config.training import Adaptation, FullFineTuning, Precision


class PreferenceConfig(Settings):
    """DPO (arXiv 2305.18290) and S-DPO (arXiv 2406.09215) from the fine-tuned model."""

    renamed: ClassVar[dict[str, str]] = {"max_grad_norm": "max_grad_norm"}

    negatives: int = Field(default=3, ge=1, description="rejected items a prompt; 1 is DPO, more is S-DPO")
    source: Literal["random", "beam"] = Field(
        default="random", description="negatives: uniform over the catalogue (S-DPO's), or the start's own beams"
    )
    beta: float = Field(default=1.0, gt=0)
    adaptation: Adaptation = FullFineTuning()
    updates: int | None = Field(default=600, ge=1, description="stop after so many; null: after `epochs`")
    epochs: int = Field(default=3, ge=1)
    prompts: int = Field(default=32, ge=1, description="prompts an update")
    device_batch_prompts: int = Field(default=32, ge=1, description="prompts a forward; accumulation makes up the rest")
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=100, ge=1, description="updates between validations")
    validation_rows: int = Field(default=2000, ge=1, description="validation rows judged, at most")
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: Seed = 0
