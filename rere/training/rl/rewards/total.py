"""The sum of a run's rewards, and the ranks that rewards are computed from.

Axes: P prompts, G candidates per prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from rere.config.base import ColumnKind
from rere.config.rl import RewardSettings
from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward
from rere.training.rl.rewards.custom import CustomReward, trial_group, try_reward

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def total_reward(rewards: Sequence[RewardSettings], group: Group) -> Float[Tensor, "P G"]:
    """(P, G) weighted sum of the rewards."""
    parts = []
    for reward in rewards:
        assert isinstance(reward, Reward)
        parts.append(reward.weight * reward(group))
    return torch.stack(parts).sum(0)


def check_rewards(rewards: Sequence[RewardSettings], columns: Mapping[str, ColumnKind] = MappingProxyType({})) -> None:
    """Try each custom reward, before anything is read or trained; raises RereError if one fails.

    Args:
        columns: the items' further columns, as the source's `item_columns`.
    """
    group = trial_group(
        embeddings=[reward.item_vectors for reward in rewards if reward.item_vectors is not None],
        with_teacher=any(reward.needs_teacher for reward in rewards),
        with_following=any(reward.needs_following for reward in rewards),
        columns=columns,
    )
    for reward in rewards:
        if isinstance(reward, CustomReward):
            try_reward(reward.path, group)


def score_ranks(score: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"]) -> Int[Tensor, "P G"]:
    """(P, G) 1-based rank of each candidate by its score (P, G), independent of the order of generation."""
    order = torch.where(valid, score, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) + 1


def with_targets(candidates: Int[Tensor, "P G"], targets: Int[Tensor, " P"]) -> Int[Tensor, "P G"]:
    """(P, G) candidates, (P,) targets -> (P, G): the target replaces the last candidate of a group that misses it."""
    missed = ~(candidates == targets[:, None]).any(1)
    changed = candidates.clone()
    changed[missed, -1] = targets[missed]
    return changed
