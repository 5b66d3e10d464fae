"""GRPO's advantage: every group with a signal has the same weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.training.rl.advantages.base import Advantage, centred, counts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class GroupStd(Advantage):
    """The group's mean removed, divided by the group's standard deviation + 1e-4 (GRPO, arXiv 2402.03300)."""

    type: Literal["group_std"] = "group_std"

    def __call__(self, reward: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        difference = centred(reward, valid)
        variance = difference.square().sum(1, keepdim=True) / (counts(valid) - 1).clamp(min=1)
        return difference / (variance.sqrt() + 1e-4)
