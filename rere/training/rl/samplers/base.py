"""The base class of samplers, which generate candidates. A sampler is one file here and one line in the registry.

Axes: P prompts, G candidates per prompt.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import Normalisation
from rere.config.rl import SamplerSettings
from rere.models.tree_attention import TreeModel
from rere.models.trunks import Prompts

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


@dataclass(frozen=True)
class SamplerInputs:
    """The inputs of a sampler.

    prompts: P prompts
    targets: (P,) int64 item indices
    num_generations: G, candidates per prompt
    normalisation: of a search's scores
    seed: of random draws
    """

    model: TreeModel
    trie: TokenTrie
    prompts: Prompts
    targets: Int[Tensor, " P"]
    num_generations: int
    normalisation: Normalisation
    seed: int

    def generator(self) -> torch.Generator:
        """A fresh CPU generator: the same seed gives the same draws on any device."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Sampled:
    """items: (P, G) int64 item indices, -1 where there are fewer; forwarded: number of tokens run."""

    items: Int[Tensor, "P G"]
    forwarded: int


class Sampler(SamplerSettings):
    """Settings of a sampler, and the sampler itself."""

    @abstractmethod
    def __call__(self, given: SamplerInputs) -> Sampled:
        """Generate G candidates for each prompt."""
