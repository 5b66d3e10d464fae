"""Settings of preference optimisation (DPO, S-DPO)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rere.config.training import InProcesses, UpdateSettings


class PreferenceConfig(InProcesses, UpdateSettings):
    """DPO (arXiv 2305.18290) and S-DPO (arXiv 2406.09215) from the fine-tuned model."""

    renamed: ClassVar[dict[str, str]] = {**InProcesses.renamed, **UpdateSettings.renamed}

    negatives: int = Field(default=3, ge=1, description="rejected items per prompt; 1 is DPO, more is S-DPO")
    source: Literal["random", "beam"] = Field(
        default="random", description="negatives: uniform over the catalogue (S-DPO's), or the start's own beams"
    )
    beta: float = Field(default=1.0, gt=0)
    learning_rate: PositiveFloat = 1e-4
    updates: PositiveInt | None = 600
    epochs: PositiveInt = 3
