"""Where one prompt is a prefix of another, the shared tokens are run once: shorter prompts branch off the longest.

The first rows of a user are such prompts, as long as their whole history fits into the window. Each token attends to
the same tokens in all of them, so results are exact. Later windows have no prefix in common but the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.models.trunks import Prompts, Trunks

if TYPE_CHECKING:
    from jaxtyping import Int, Shaped
    from torch import Tensor

LEAST_SAVED = 0.2  # of the tokens: trunks take a mask, and a copy of their keys and values


def chains(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of the prompts, each prompt in a chain beginning the next; equal ones stand together."""
    found: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=lambda index: tuple(prompts[index])):
        before = prompts[found[-1][-1]] if found else None
        if before is not None and tuple(prompts[index][: len(before)]) == tuple(before):
            found[-1].append(index)
        else:
            found.append([index])
    return found


def by_length(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Indices of all prompts, chain after chain, those of like length beside each other."""
    ordered = sorted(chains(prompts), key=lambda chain: len(prompts[chain[-1]]))
    return [index for chain in ordered for index in chain]


@dataclass(frozen=True)
class SharedPrefill:
    """prompts: what is run; order: (P,) index that each of them was given at"""

    prompts: Prompts
    order: Int[Tensor, " P"]

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], device: torch.device) -> SharedPrefill:
        """Share what can be shared; prompts by themselves where that saves little."""
        found = chains(prompts)
        longest = [prompts[chain[-1]] for chain in found]
        if sum(map(len, longest)) > (1 - LEAST_SAVED) * sum(map(len, prompts)):
            return cls(prompts, torch.arange(len(prompts), device=device))
        order = torch.tensor([index for chain in found for index in chain], device=device)
        walks = [[[token] for token in prompt] for prompt in longest]  # each token as an item: all see all before them
        ends = [[len(prompts[index]) for index in chain] for chain in found]
        return cls(Trunks.of([()] * len(walks), walks, ends, max(map(len, longest)), device), order)

    def restored(self, results: Shaped[Tensor, "P ..."]) -> Shaped[Tensor, "P ..."]:
        """Results (P, ...) in the order in which the prompts were given."""
        return torch.empty_like(results).index_copy_(0, self.order, results)
