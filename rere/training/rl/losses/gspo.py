"""GSPO: one ratio per sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from rere.training.rl.losses.base import ClippedLoss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class GSPO(ClippedLoss):
    """The ratio of a sequence is the geometric mean of its tokens' ratios (arXiv 2507.18071).

    On the rollout's first step its gradient is GRPO's; what differs are the further steps, and their narrow bounds.
    """

    type: Literal["gspo"] = "gspo"
    epsilon: float = Field(default=3e-4, gt=0, lt=1, description="how far below 1 a sequence's ratio counts")
    epsilon_high: float = Field(default=4e-4, gt=0, description="how far above 1")

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        mean = (given.log_ratio * given.mask).sum(2) / given.lengths
        penalty = (given.penalty * given.mask).sum(2) / given.lengths
        objective = self.gain(given, torch.exp(mean), given.advantages) - penalty
        return -(objective * given.mask.any(2)).sum() / max(given.counts.sequences, 1)
