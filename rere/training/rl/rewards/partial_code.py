"""The partial-code reward: how far along the target's code a candidate comes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

import torch

from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class PartialCodeReward(Reward):
    """Share of the target's code, from its first token on, that the candidate's code begins with.

    1 for the target alone, since no code begins another; 0 for what is no item. With one token per item it is the rule
    reward; with titles or semantic IDs it tells near misses from far ones.
    """

    type: Literal["partial_code"] = "partial_code"

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        shares = [
            [_shared(code, target) / len(target) for code in row]
            for row, target in zip(group.tokens, group.target_tokens, strict=True)
        ]
        return torch.tensor(shares, dtype=torch.float32, device=group.hits.device)


def _shared(code: Sequence[int], target: Sequence[int]) -> int:
    """Leading tokens that are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(code, target, strict=False)))
