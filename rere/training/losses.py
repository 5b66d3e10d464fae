"""Policy losses: one function and one registry line each.

Shapes: log-probabilities (P, G, R) float, mask (P, G, R) bool, advantages (P, G).
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def k3(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimator of KL(policy || reference) a token: exp(d) - d - 1, d = reference - policy."""
    difference = reference - policy
    return torch.exp(difference) - difference - 1


def grpo(policy: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """GRPO (arXiv 2402.03300): mean over sequences of each sequence's mean token objective; a scalar.

    The batch is sampled from the very policy that is updated, once, so the ratio is 1 in value and carries
    the gradient; clipping never binds.
    """
    ratio = torch.exp(policy - policy.detach())
    objective = (ratio * advantages[:, :, None] - penalty) * mask
    lengths = mask.sum(2)
    each = objective.sum(2) / lengths.clamp(min=1)
    return -each.sum() / (lengths > 0).sum().clamp(min=1)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"grpo": grpo}
