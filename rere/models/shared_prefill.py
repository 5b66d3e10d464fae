"""Where one prompt is a prefix of another, the shared tokens are run once: shorter prompts branch off the longest.

The first rows of a user are such prompts, as long as their whole history fits into the window. Each token attends to
the same tokens in all of them, so results are exact. Later windows have no prefix in common but the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rere.models.trunks import Prompts, Trunks

LEAST_SAVED = 0.2  # of the tokens: trunks take a mask, and a copy of their keys and values


def chains(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of the prompts, each prompt in a chain beginning the next; equal ones stand together."""
    found: list[list[int]] = []
    for place in sorted(range(len(prompts)), key=lambda place: tuple(prompts[place])):
        before = prompts[found[-1][-1]] if found else None
        if before is not None and tuple(prompts[place][: len(before)]) == tuple(before):
            found[-1].append(place)
        else:
            found.append([place])
    return found


def by_length(prompts: Sequence[Sequence[int]]) -> list[int]:
    """All places, chain after chain, those of like length beside each other."""
    ordered = sorted(chains(prompts), key=lambda chain: len(prompts[chain[-1]]))
    return [place for chain in ordered for place in chain]


@dataclass(frozen=True)
class SharedPrefill:
    """prompts: what is run; places: (P,) where each of their results belongs"""

    prompts: Prompts
    places: torch.Tensor

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], device: torch.device) -> SharedPrefill:
        """Share what can be shared; prompts by themselves where that saves little."""
        found = chains(prompts)
        longest = [prompts[chain[-1]] for chain in found]
        if sum(map(len, longest)) > (1 - LEAST_SAVED) * sum(map(len, prompts)):
            return cls(prompts, torch.arange(len(prompts), device=device))
        places = torch.tensor([place for chain in found for place in chain], device=device)
        walks = [[[token] for token in prompt] for prompt in longest]  # each token as an item: all see all before them
        ends = [[len(prompts[place]) for place in chain] for chain in found]
        return cls(Trunks.of((), walks, ends, max(map(len, longest)), device), places)

    def restored(self, results: torch.Tensor) -> torch.Tensor:
        """Results (P, ...) in the order in which the prompts were given."""
        return torch.empty_like(results).index_copy_(0, self.places, results)
