"""S-DPO: the target against a softmax of negatives; with one negative it is DPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import softplus

from rere.training.preference.losses.base import PreferenceInputs, PreferenceLoss

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class SDPO(PreferenceLoss):
    """-log sigmoid(-log sum_j exp(beta (r_j - r_0))), r = log policy - log reference, 0 the target, j its negatives.

    S-DPO (arXiv 2406.09215); with one negative it is DPO's (arXiv 2305.18290).
    """

    type: Literal["s_dpo"] = "s_dpo"

    def __call__(self, given: PreferenceInputs) -> Float[Tensor, " P"]:
        return softplus(torch.logsumexp(given.beta * given.over_target, 1))
