"""The collaborative reward: the probability that an item model, the teacher, gives the candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LOWEST = -30.0  # nats: used where the teacher's probability is 0


class CollaborativeReward(Reward):
    """The teacher's probability of the candidate within its group (ReRe's collaborative reward), or its logarithm."""

    needs_teacher: ClassVar[bool] = True

    type: Literal["collaborative"] = "collaborative"
    scale: Literal["share", "log"] = "share"

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        """share: sums to 1 over a group; log (nats): what `mpo` multiplies into the reference policy."""
        assert group.teacher is not None
        scores = torch.where(group.valid, group.teacher, -torch.inf)
        if self.scale == "share":
            return scores.softmax(1).nan_to_num().float()
        return torch.where(group.valid, scores.log_softmax(1), 0.0).nan_to_num().clamp(min=LOWEST).float()
