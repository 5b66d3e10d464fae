"""Policy losses: one function and one registry line each.

Shapes: log-probabilities (P, G, R) float, mask (P, G, R) bool, advantages (P, G), penalty (P, G, R): beta times
the KL a token, 0 outside the mask.

The batch is sampled from the very policy that is updated, once, so every ratio is 1 in value and carries the
gradient; clipping (also DAPO's and GSPO's) never binds and is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def k3(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimator of KL(policy || reference) a token: exp(d) - d - 1, d = reference - policy."""
    difference = reference - policy
    return torch.exp(difference) - difference - 1


def grpo(policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """GRPO (arXiv 2402.03300): mean over sequences of each sequence's mean token objective; a scalar."""
    ratio = torch.exp(policy - policy.detach())
    objective = (ratio * advantages[:, :, None] - penalty) * mask
    lengths = mask.sum(2)
    each = objective.sum(2) / lengths.clamp(min=1)
    return -each.sum() / (lengths > 0).sum().clamp(min=1)


def dapo(policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """DAPO (arXiv 2503.14476): mean over all tokens of the batch, so long sequences weigh more; a scalar."""
    ratio = torch.exp(policy - policy.detach())
    objective = (ratio * advantages[:, :, None] - penalty) * mask
    return -objective.sum() / mask.sum().clamp(min=1)


def gspo(policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """GSPO (arXiv 2507.18071): one ratio a sequence, the geometric mean of its tokens'; a scalar."""
    lengths = mask.sum(2)
    mean = (policy * mask).sum(2) / lengths.clamp(min=1)
    objective = torch.exp(mean - mean.detach()) * advantages - (penalty * mask).sum(2) / lengths.clamp(min=1)
    return -(objective * (lengths > 0)).sum() / (lengths > 0).sum().clamp(min=1)


def listwise(
    policy: torch.Tensor, mask: torch.Tensor, reward: torch.Tensor, valid: torch.Tensor, penalty: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy between the rewards' shares and the group's softmax over whole items; a scalar.

    ListNet (Cao et al., ICML 2007) on the policy's own candidates. Unlike a policy gradient it weighs a candidate by
    how far its probability is from its share, so it stops pushing where the policy agrees with the rewards.

    Args:
        reward: (P, G), negative ones count as 0; a group whose rewards sum to 0 gives no signal.
        valid: (P, G) bool, False for places that hold no candidate.
    """
    share = reward.clamp(min=0) * valid
    total = share.sum(1, keepdim=True)
    log_softmax = torch.where(valid, (policy * mask).sum(2), -torch.inf).log_softmax(1)
    cross = -(torch.where(valid, log_softmax, 0.0) * share / total.clamp(min=1e-8)).sum(1)
    return cross.mean() + (penalty * mask).sum() / mask.sum().clamp(min=1)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"grpo": grpo, "dapo": dapo, "gspo": gspo}  # of advantages
