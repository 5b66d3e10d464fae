"""Dr. GRPO's advantage: a group weighs as much as its rewards differ."""

from __future__ import annotations

from typing import Literal

import torch

from rere.training.rl.advantages.base import Advantage, centred


class Unscaled(Advantage):
    """Only the group's mean is removed (Dr. GRPO, arXiv 2503.20783)."""

    type: Literal["none"] = "none"

    def __call__(self, reward: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return centred(reward, valid)
