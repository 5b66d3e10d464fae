"""DAPO: each token weighs the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.training.rl.losses.base import Loss, LossInputs, token_objective

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class DAPO(Loss):
    """Mean token objective over all tokens of the batch, so long sequences weigh more (arXiv 2503.14476)."""

    type: Literal["dapo"] = "dapo"

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        return -token_objective(given).sum() / max(given.counts.tokens, 1)
