"""NAPO: S-DPO without a reference and with a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch.nn.functional import softplus

from rere.training.preference.losses.base import PreferenceInputs, PreferenceLoss

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class NAPO(PreferenceLoss):
    """-log sigmoid(-log sum_j exp(beta (s_j - s_0)) - margin), with s = log policy, 0 the target, j its negatives.

    NAPO (arXiv 2508.09653) with a fixed margin. Its negatives are also those of similar users in the batch:
    `in_batch: {type: similar_users}`. The paper moves the margin by an item model's scores of the batch's negatives;
    that isn't done here.
    """

    type: Literal["napo"] = "napo"
    margin: float = Field(default=1.0, ge=0, description="by which the target must win (nats times beta)")

    def __call__(self, given: PreferenceInputs) -> Float[Tensor, " P"]:
        over_target = given.negatives_only(given.policy[:, 1:] - given.policy[:, :1])
        return softplus(torch.logsumexp(given.beta * over_target, 1) + self.margin)
