"""The rule reward: hit or miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class RuleReward(Reward):
    """1 for the target, 0 otherwise (ReRe, arXiv 2510.12211)."""

    type: Literal["rule"] = "rule"

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        return group.hits.float()
