"""The next-items reward: what the user took soon after the target is no wrong answer either."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class NextItemsReward(Reward):
    """discount^d for the item that the user took d items after the target, 1 for the target, 0 for all others.

    Of an item that was taken several times, the first counts. Only items of the training period, and of the target's
    own stretch of history, are looked at, so nothing of validation or test is given away.
    """

    needs_following: ClassVar[bool] = True

    type: Literal["next_items"] = "next_items"
    items: int = Field(default=10, ge=1, description="how many items are right answers, the target among them")
    discount: float = Field(default=0.7, gt=0, le=1, description="of each item against the one before it")

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        assert group.following is not None
        rewards = []
        for row, target, following in zip(group.items.tolist(), group.targets.tolist(), group.following, strict=True):
            right = [target, *following[: self.items - 1]]
            worth = {item: self.discount**d for d, item in reversed(list(enumerate(right)))}  # the first one stays
            rewards.append([worth.get(item, 0.0) for item in row])
        return torch.tensor(rewards, dtype=torch.float32, device=group.hits.device)
