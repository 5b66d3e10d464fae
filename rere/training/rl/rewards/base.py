"""The base class of rewards. A reward is one file here and one line in the registry.

Axes: P prompts, G candidates per prompt.
"""

from __future__ import annotations

from abc import abstractmethod

import torch

from rere.config.rl import RewardSettings
from rere.training.rl.group import Group


class Reward(RewardSettings):
    """Settings of a reward, and the reward itself."""

    @abstractmethod
    def __call__(self, group: Group) -> torch.Tensor:
        """(P, G) float32 rewards, before the weight."""
