"""Settings of the evaluation."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from rere.config.base import Seed
from rere.config.decoding import Normalisation
from rere.config.training import InProcesses


class EvaluationConfig(InProcesses):
    ks: tuple[PositiveInt, ...] = Field(default=(1, 3, 5, 10), min_length=1)
    beams: int = Field(default=20, ge=1, description="width of the constrained beam search")
    batch_prompts: int = Field(default=64, ge=1)
    normalisation: Normalisation = "trie"
    bootstrap_samples: int = Field(default=2000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _beams_cover_ks(self) -> EvaluationConfig:
        if self.beams < max(self.ks):
            raise ValueError(f"beams ({self.beams}) must be at least the largest k ({max(self.ks)})")
        return self
