"""Candidates chosen from more draws than needed."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from rere.decoding.sampling import dynamic_group, sample_items
from rere.training.rl.samplers.base import Sampled, Sampler, SamplerInputs


class DynamicSampler(Sampler):
    """More draws than needed; of them the target, then distinct negatives, then repeats (ReRe)."""

    type: Literal["dynamic"] = "dynamic"
    oversample: float = Field(default=1.5, ge=1, description="draws, as a multiple of the group")

    def __call__(self, given: SamplerInputs) -> Sampled:
        draws = math.ceil(self.oversample * given.num_generations)
        drawn = sample_items(given.model, given.trie, given.prompts, draws, given.generator())
        return Sampled(dynamic_group(drawn.items, given.targets, given.num_generations), drawn.forwarded)
