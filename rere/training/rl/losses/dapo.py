"""DAPO: each token weighs the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rere.training.rl.losses.base import ClippedLoss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class DAPO(ClippedLoss):
    """Mean token objective over all tokens of the batch, so long sequences weigh more (arXiv 2503.14476).

    What is unlikely may rise further than it may fall: the upper bound is wider than the lower.
    """

    type: Literal["dapo"] = "dapo"
    epsilon_high: float = Field(default=0.28, gt=0, description="how far above 1")

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        return -self.token_objective(given).sum() / max(given.counts.tokens, 1)
