"""The base class of preference losses. A loss is one file here and one line in the registry.

Axes: P prompts, G negatives; candidates are (P, 1 + G), the target first.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rere.config.variants import Variant

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


@dataclass(frozen=True)
class PreferenceInputs:
    """The candidates of P prompts, scored.

    policy, reference: (P, 1 + G) float log-probabilities (nats) of whole items, the target first
    valid: (P, 1 + G) bool, False where there is no candidate; the target and one negative are always there
    beta: factor of what a loss compares
    """

    policy: Float[Tensor, "P 1+G"]
    reference: Float[Tensor, "P 1+G"]
    valid: Bool[Tensor, "P 1+G"]
    beta: float

    @cached_property
    def over_target(self) -> Float[Tensor, "P G"]:
        """(P, G) log-ratio to the reference of each negative less the target's; -inf where there is none."""
        ratios = self.policy - self.reference
        return self.negatives_only(ratios[:, 1:] - ratios[:, :1])

    def negatives_only(self, values: Float[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        """Values of the negatives; -inf where there is none."""
        return values.masked_fill(~self.valid[:, 1:], -float("inf"))


class PreferenceLoss(Variant):
    """Settings of a preference loss, and the loss itself."""

    @abstractmethod
    def __call__(self, given: PreferenceInputs) -> Float[Tensor, " P"]:
        """(P,) the loss of each prompt."""
