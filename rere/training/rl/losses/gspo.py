"""GSPO: one ratio per sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from rere.training.rl.losses.base import Loss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class GSPO(Loss):
    """The ratio of a sequence is the geometric mean of its tokens' ratios (arXiv 2507.18071)."""

    type: Literal["gspo"] = "gspo"

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        mean = (given.policy * given.mask).sum(2) / given.lengths
        penalty = (given.penalty * given.mask).sum(2) / given.lengths
        objective = torch.exp(mean - mean.detach()) * given.advantages - penalty
        return -(objective * given.mask.any(2)).sum() / max(given.counts.sequences, 1)
