"""Dr. GRPO's advantage: a group weighs as much as its rewards differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.training.rl.advantages.base import Advantage, centred

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class Unscaled(Advantage):
    """Only the group's mean is removed (Dr. GRPO, arXiv 2503.20783)."""

    type: Literal["none"] = "none"

    def __call__(self, reward: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        return centred(reward, valid)
