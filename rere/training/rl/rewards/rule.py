"""The rule reward: hit or miss."""

from __future__ import annotations

from typing import Literal

import torch

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward


class RuleReward(Reward):
    """1 for the target, 0 otherwise (ReRe, arXiv 2510.12211)."""

    type: Literal["rule"] = "rule"

    def __call__(self, group: Group) -> torch.Tensor:
        return group.hits.float()
