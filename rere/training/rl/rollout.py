"""Where RL's candidates come from: one branch a generation and sampling strategy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import Beam, Dynamic, Multinomial, SearchSettings
from rere.config.rl import RLConfig
from rere.decoding.beam import beam_search
from rere.decoding.sampling import dynamic_group, sample_items
from rere.decoding.unconstrained import generate_freely
from rere.models.tree_attention import TreeModel
from rere.models.trunks import Prompts, Trunks


@dataclass(frozen=True)
class Rollout:
    """Candidates of P prompts.

    candidates: (P, G) int64 indices of sequences in `trie`, -1 where there are fewer
    items: (P, G) int64 item indices, -1 for what is no item; the same as `candidates` under the constraint
    trie: the catalogue's, or one over what was written without the constraint
    forwarded: tokens that were run
    """

    candidates: torch.Tensor
    items: torch.Tensor
    trie: TokenTrie
    forwarded: int


def rollout(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Prompts,
    targets: torch.Tensor,
    config: RLConfig,
    *,
    seed: int,
    end: int | None = None,
) -> Rollout:
    """Candidates of each prompt.

    Args:
        targets: (P,) item indices; only dynamic sampling looks at them.
        seed: of the draws; beams have none.
        end: the token that ends an item; only unconstrained generation needs it.
    """
    if config.generation == "unconstrained":
        assert end is not None
        assert not isinstance(config.sampling, Dynamic)  # the settings refuse it, and trunks
        assert not isinstance(prompts, Trunks)
        free = generate_freely(model, trie, end, prompts, config.num_generations, sampling=config.sampling, seed=seed)
        return Rollout(free.candidates, free.items, free.trie, free.forwarded)
    if isinstance(config.sampling, Beam):
        settings = SearchSettings(beams=config.num_generations, normalisation=config.normalisation)
        found = beam_search(model, trie, prompts, settings)
        return Rollout(found.items, found.items, trie, found.forwarded)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config.sampling, Multinomial):
        sample = sample_items(model, trie, prompts, config.num_generations, generator)
        return Rollout(sample.items, sample.items, trie, sample.forwarded)
    drawn = math.ceil(config.sampling.oversample * config.num_generations)
    sample = sample_items(model, trie, prompts, drawn, generator)
    items = dynamic_group(sample.items, targets, config.num_generations)
    return Rollout(items, items, trie, sample.forwarded)
