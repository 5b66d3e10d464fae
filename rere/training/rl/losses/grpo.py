"""GRPO: each sequence weighs the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.training.rl.losses.base import ClippedLoss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class GRPO(ClippedLoss):
    """Mean over sequences of each sequence's mean token objective (arXiv 2402.03300)."""

    type: Literal["grpo"] = "grpo"

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        return -self.sequence_objective(given).sum() / max(given.counts.sequences, 1)
