"""The base class of rewards. A reward is one file here and one line in the registry.

Axes: P prompts, G candidates per prompt.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from rere.config.rl import RewardSettings
from rere.training.rl.group import Group

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Reward(RewardSettings):
    """Settings of a reward, and the reward itself."""

    @abstractmethod
    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        """(P, G) float32 rewards, before the weight."""
