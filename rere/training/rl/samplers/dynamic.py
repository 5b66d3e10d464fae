"""Candidates chosen from more draws than needed."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from rere.decoding.sampling import TargetCopies, dynamic_group, sample_items
from rere.training.rl.samplers.base import Sampled, Sampler, SamplerInputs


class DynamicSampler(Sampler):
    """More draws than needed; of them the target, then distinct negatives, then repeats (ReRe).

    The reference code keeps every draw of the target. What is likely under the policy then fills much of its group, and
    the ranking reward has few negatives to rank.
    """

    type: Literal["dynamic"] = "dynamic"
    oversample: float = Field(default=1.5, ge=1, description="draws, as a multiple of the group")
    target_copies: TargetCopies = Field(
        default="all", description="all: every draw of the target stays (the reference code); one: the first"
    )

    def __call__(self, given: SamplerInputs) -> Sampled:
        draws = math.ceil(self.oversample * given.num_generations)
        drawn = sample_items(given.model, given.trie, given.prompts, draws, given.generator())
        group = dynamic_group(drawn.items, given.targets, given.num_generations, self.target_copies)
        return Sampled(group, drawn.forwarded)
