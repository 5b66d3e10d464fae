"""Policy losses: one function and one registry line each.

Shapes: log-probabilities (P, G, R) float, mask (P, G, R) bool, advantages (P, G), penalty (P, G, R): beta times
the KL per token, 0 outside the mask.

The batch is sampled from the very policy that is updated, once, so every ratio is 1 in value and carries the
gradient; clipping (also DAPO's and GSPO's) never binds and is left out.

A loss is a sum over the prompts at hand, divided by `counts` of the whole micro-batch: the losses of processes that
share a micro-batch add up to that of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Counts:
    """What the means of a micro-batch divide by: its prompts, sequences with a token that counts, and such tokens."""

    prompts: int = 0
    sequences: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, mask: torch.Tensor) -> Counts:
        """Of a (P, G, R) mask."""
        return cls(len(mask), int(mask.any(2).sum()), int(mask.sum()))


def k3(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimator of KL(policy || reference) a token: exp(d) - d - 1, d = reference - policy."""
    difference = reference - policy
    return torch.exp(difference) - difference - 1


def grpo(
    policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor, counts: Counts
) -> torch.Tensor:
    """GRPO (arXiv 2402.03300): mean over sequences of each sequence's mean token objective; a scalar."""
    ratio = torch.exp(policy - policy.detach())
    objective = (ratio * advantages[:, :, None] - penalty) * mask
    lengths = mask.sum(2)
    each = objective.sum(2) / lengths.clamp(min=1)
    return -each.sum() / max(counts.sequences, 1)


def dapo(
    policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor, counts: Counts
) -> torch.Tensor:
    """DAPO (arXiv 2503.14476): mean over all tokens of the batch, so long sequences weigh more; a scalar."""
    ratio = torch.exp(policy - policy.detach())
    objective = (ratio * advantages[:, :, None] - penalty) * mask
    return -objective.sum() / max(counts.tokens, 1)


def gspo(
    policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor, counts: Counts
) -> torch.Tensor:
    """GSPO (arXiv 2507.18071): one ratio per sequence, the geometric mean of its tokens'; a scalar."""
    lengths = mask.sum(2)
    mean = (policy * mask).sum(2) / lengths.clamp(min=1)
    objective = torch.exp(mean - mean.detach()) * advantages - (penalty * mask).sum(2) / lengths.clamp(min=1)
    return -(objective * (lengths > 0)).sum() / max(counts.sequences, 1)


def mpo(
    policy: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor,
    reward: torch.Tensor,
    valid: torch.Tensor,
    *,
    penalty: torch.Tensor,
    counts: Counts,
) -> torch.Tensor:
    """Cross-entropy from q to the group's softmax over whole items, with q ∝ reference · exp(reward); a scalar.

    MPO (Abdolmaleki et al., ICLR 2018, arXiv 1806.06920) on the policy's own candidates: q maximises the mean reward
    less KL(q || reference) within the group, and the policy is fitted to it. Unlike a policy gradient it stops pushing
    where the policy agrees with q. A reward's weight is the inverse of MPO's temperature.

    Args:
        policy, reference: (P, G, R) log-probabilities (nats).
        valid: (P, G) bool, False for places that hold no candidate.
    """
    log_softmax, aim = (
        torch.where(valid, score, -torch.inf).log_softmax(1)
        for score in ((policy * mask).sum(2), (reference * mask).sum(2) + reward)
    )
    cross = -torch.where(valid, log_softmax * aim.exp(), 0.0).sum(1)
    return cross.sum() / counts.prompts + (penalty * mask).sum() / max(counts.tokens, 1)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"grpo": grpo, "dapo": dapo, "gspo": gspo}  # of advantages
