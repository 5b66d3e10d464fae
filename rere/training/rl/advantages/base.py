"""From rewards to advantages. An advantage is one file here and one line in the registry.

Axes: P prompts, G candidates per prompt.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from rere.config.variants import Variant

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class Advantage(Variant):
    """Settings of an advantage, and the advantage itself."""

    @abstractmethod
    def __call__(self, reward: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        """(P, G) advantages; 0 where there is no candidate.

        Args:
            reward: (P, G) float.
            valid: (P, G) bool, False where there is no candidate.
        """


def centred(reward: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
    """(P, G) rewards less their group's mean; 0 where there is no candidate."""
    mean = (reward * valid).sum(1, keepdim=True) / counts(valid)
    return (reward - mean) * valid


def counts(valid: Bool[Tensor, "P G"]) -> Int[Tensor, "P 1"]:
    """(P, 1) candidates of each group, at least 1: a divisor."""
    return valid.sum(1, keepdim=True).clamp(min=1)
