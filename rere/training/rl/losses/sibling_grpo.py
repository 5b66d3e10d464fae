"""Sibling-GRPO: GRPO, and besides it each token against the other tokens that candidates have in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from rere.training.rl.losses.base import Loss, LossInputs
from rere.training.rl.losses.grpo import GRPO

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class SiblingGRPO(Loss):
    """GRPO's loss less `weight` times the sibling objective (V-STAR, arXiv 2602.10699, equations 15 to 19).

    The candidates of a prompt are a token tree. A node v below the prefix h is worth R(v), the mean reward of the
    candidates through it, and its advantage is against its siblings, the other nodes below h:

        A(v) = (R(v) - mean over siblings) / (their standard deviation + 1e-4)
        objective = mean over prompts of 1/G · sum over nodes of A(v) · ratio(v)

    Each node counts once, however many candidates share it. Candidates that share a prefix have almost the same
    reward in GRPO; here they differ where they part. A node without siblings has no advantage, so with one token per
    item this is one more GRPO without the division by a sequence's length.
    """

    type: Literal["sibling_grpo"] = "sibling_grpo"
    weight: float = Field(default=1.0, gt=0, description="of the sibling objective beside GRPO's")

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        advantages, shared_by = sibling_advantages(given.reward, given.nodes, given.mask & given.valid[:, :, None])
        per_prompt = (torch.exp(given.log_ratio) * advantages / shared_by).sum((1, 2)) / given.valid.sum(1).clamp(min=1)
        return GRPO()(given) - self.weight * per_prompt.sum() / max(given.counts.prompts, 1)


def sibling_advantages(
    reward: Float[Tensor, "P G"], nodes: Int[Tensor, "P G L"], mask: Bool[Tensor, "P G L"]
) -> tuple[Float[Tensor, "P G L"], Int[Tensor, "P G L"]]:
    """Each token's advantage against its siblings, 0 outside the mask; and how many candidates share its node.

    Args:
        reward: (P, G) of the candidates.
        nodes: (P, G, L) number of each token's node: within a prompt, the same for the same prefix up to this token.
        mask: (P, G, L) tokens that count.
    """
    advantages, shared_by = torch.zeros(nodes.shape, device=reward.device), torch.ones_like(nodes)
    parent = torch.full(nodes.shape[:2], -1, device=nodes.device)  # (P, G) the last node above that counts
    for depth in range(nodes.shape[2]):
        node, here = nodes[:, :, depth], mask[:, :, depth]
        both = here[:, :, None] & here[:, None, :]
        same = both & (node[:, :, None] == node[:, None, :])  # (P, G, G) candidates of one node
        siblings = both & (parent[:, :, None] == parent[:, None, :])  # of one parent
        size = same.sum(2).clamp(min=1)
        value = (same * reward[:, None, :]).sum(2) / size
        once = siblings / size[:, None, :]  # a candidate's part of its node, so that a node counts once
        count = once.sum(2).clamp(min=1)
        mean = (once * value[:, None, :]).sum(2) / count
        variance = (once * (value[:, None, :] - mean[:, :, None]).square()).sum(2) / count
        advantages[:, :, depth] = torch.where(here, (value - mean) / (variance.sqrt() + 1e-4), 0.0)
        shared_by[:, :, depth] = size
        parent = torch.where(here, node, parent)
    return advantages, shared_by
