"""The ranking reward: hard negatives cost more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class RankingReward(Reward):
    """-1/log2(rank+1) over the group's sum, for negatives; only in groups with a hit (ReRe, arXiv 2510.12211)."""

    type: Literal["ranking"] = "ranking"

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        gain = 1 / torch.log2(group.rank.float() + 1)
        charge = -gain / gain.sum(1, keepdim=True)
        charged = group.hits.any(1, keepdim=True) & ~group.hits
        return torch.where(charged, charge, torch.zeros_like(charge))
