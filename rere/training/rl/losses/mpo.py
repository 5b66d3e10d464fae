"""MPO: the policy is fitted to the best distribution near the reference, instead of pushed along a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from rere.training.rl.losses.base import Loss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class MPO(Loss):
    """Cross-entropy from q to the group's softmax over whole items, with q ∝ reference · exp(reward).

    MPO (Abdolmaleki et al., ICLR 2018, arXiv 1806.06920) on the policy's own candidates: q maximises the mean reward
    less KL(q || reference) within the group, and the policy is fitted to it. Unlike a policy gradient it stops pushing
    where the policy agrees with q. A reward's weight is the inverse of MPO's temperature.
    """

    type: Literal["mpo"] = "mpo"

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        score = (given.policy * given.mask).sum(2)
        aim = (given.reference * given.mask).sum(2) + given.reward
        log_softmax = torch.where(given.valid, score, -torch.inf).log_softmax(1)
        log_target = torch.where(given.valid, aim, -torch.inf).log_softmax(1)
        cross = -torch.where(given.valid, log_softmax * log_target.exp(), 0.0).sum(1)
        penalty = (given.penalty * given.mask).sum() / max(given.counts.tokens, 1)
        return cross.sum() / given.counts.prompts + penalty
