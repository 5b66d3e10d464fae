"""Rewards of a group of candidates: one function and one registry line each.

All take hits (P, G) bool (candidate is the target) and rank (P, G) int64 (1-based, by score), and return
(P, G) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rere.config import Reward


def rule(hits: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
    """1 for the target, 0 otherwise (ReRe, arXiv 2510.12211)."""
    return hits.float()


def ranking(hits: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
    """Hard negatives cost more the higher they stand: -1/log2(rank+1), over the group's sum (ReRe).

    Only negatives of a group with a hit are charged; elsewhere 0.
    """
    gain = 1 / torch.log2(rank.float() + 1)
    charge = -gain / gain.sum(1, keepdim=True)
    return torch.where(hits.any(1, keepdim=True) & ~hits, charge, torch.zeros_like(charge))


REWARDS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"rule": rule, "ranking": ranking}


def score_ranks(score: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(P, G) 1-based rank of each candidate by its score (P, G), whatever order it was generated in."""
    order = torch.where(valid, score, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) + 1


def total_reward(rewards: Sequence[Reward], hits: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the enabled rewards, (P, G)."""
    return torch.stack([reward.weight * REWARDS[reward.type](hits, rank) for reward in rewards]).sum(0)


def group_advantages(reward: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """GRPO's advantage: group mean removed, divided by the group's standard deviation + 1e-4; (P, G).

    Args:
        reward: (P, G); valid: (P, G) bool, False for places that hold no candidate (they get 0).
    """
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = (reward * valid).sum(1, keepdim=True) / count
    centred = (reward - mean) * valid
    deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation + 1e-4)
