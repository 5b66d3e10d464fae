"""Rewards of a group of candidates: one function and one registry line each.

Axes: P prompts, G candidates. Rewards are (P, G) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch

from rere.config.base import ColumnKind
from rere.config.rl import CollaborativeReward, CustomReward, Reward
from rere.training.rl.custom_reward import custom_reward, try_reward
from rere.training.rl.group import Group


def rule(group: Group) -> torch.Tensor:
    """1 for the target, 0 otherwise (ReRe, arXiv 2510.12211)."""
    return group.hits.float()


def ranking(group: Group) -> torch.Tensor:
    """Hard negatives cost more the higher they stand: -1/log2(rank+1), over the group's sum (ReRe).

    Only negatives of a group with a hit are charged; elsewhere 0.
    """
    gain = 1 / torch.log2(group.rank.float() + 1)
    charge = -gain / gain.sum(1, keepdim=True)
    return torch.where(group.hits.any(1, keepdim=True) & ~group.hits, charge, torch.zeros_like(charge))


def semantic(group: Group) -> torch.Tensor:
    """How near the candidate's title is to the target's: the cosine, negative ones as 0."""
    assert group.similarity is not None
    return group.similarity.clamp(min=0).float()


def collaborative(group: Group) -> torch.Tensor:
    """The item model's distribution over the group's candidates: dense, sums to 1."""
    assert group.teacher is not None
    return torch.where(group.valid, group.teacher, -torch.inf).softmax(1).nan_to_num().float()


def collaborative_log(group: Group) -> torch.Tensor:
    """Its logarithm (nats), at least -30: what `mpo` multiplies into the reference policy."""
    assert group.teacher is not None
    log_share = torch.where(group.valid, group.teacher, -torch.inf).log_softmax(1)
    return torch.where(group.valid, log_share, 0.0).nan_to_num().clamp(min=-30.0).float()


REWARDS: dict[str, Callable[[Group], torch.Tensor]] = {
    "rule": rule,
    "ranking": ranking,
    "semantic": semantic,
    "collaborative": collaborative,
}


def score_ranks(score: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(P, G) 1-based rank of each candidate by its score (P, G), whatever order it was generated in."""
    order = torch.where(valid, score, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) + 1


def total_reward(rewards: Sequence[Reward], group: Group) -> torch.Tensor:
    """Weighted sum of the enabled rewards, (P, G)."""
    return torch.stack([reward.weight * _function(reward)(group) for reward in rewards]).sum(0)


def _function(reward: Reward) -> Callable[[Group], torch.Tensor]:
    if isinstance(reward, CustomReward):
        return custom_reward(reward.path)
    if isinstance(reward, CollaborativeReward) and reward.scale == "log":
        return collaborative_log
    return REWARDS[reward.type]


def check_rewards(rewards: Sequence[Reward], columns: Mapping[str, ColumnKind] = MappingProxyType({})) -> None:
    """Try each custom reward, before anything is read or trained; RereError where one fails.

    Args:
        columns: the items' further columns, as the source's `item_columns`.
    """
    kinds = {reward.type for reward in rewards}
    for reward in rewards:
        if isinstance(reward, CustomReward):
            try_reward(reward.path, "semantic" in kinds, "collaborative" in kinds, columns)


def group_advantages(reward: torch.Tensor, valid: torch.Tensor, scaling: str = "group_std") -> torch.Tensor:
    """The group's mean removed and, with `group_std` (GRPO), divided by the group's deviation + 1e-4; (P, G).

    Without the division (`none`, as Dr. GRPO, arXiv 2503.20783) a group weighs as much as its rewards differ.

    Args:
        reward: (P, G); valid: (P, G) bool, False for places that hold no candidate (they get 0).
    """
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = (reward * valid).sum(1, keepdim=True) / count
    centred = (reward - mean) * valid
    if scaling == "none":
        return centred
    deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation + 1e-4)


def with_targets(candidates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(P, G) candidates, (P,) targets -> (P, G): a group that misses its target gets it in place of the last."""
    missed = ~(candidates == targets[:, None]).any(1)
    changed = candidates.clone()
    changed[missed, -1] = targets[missed]
    return changed
