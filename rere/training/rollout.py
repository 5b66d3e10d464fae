"""Where RL's candidates come from: one branch a sampling strategy, all through the token tree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rere.catalog.trie import TokenTrie
from rere.config import Beam, Multinomial, RLConfig
from rere.decoding.beam import beam_search
from rere.decoding.sampling import dynamic_group, sample_items
from rere.decoding.tree_attention import TreeModel


def rollout(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    targets: torch.Tensor,
    config: RLConfig,
    seed: int,
) -> tuple[torch.Tensor, int]:
    """Candidates of each prompt.

    Args:
        targets: (P,) item indices; only dynamic sampling looks at them.
        seed: of the draws; beams have none.

    Returns:
        (P, G) item indices, -1 where the catalogue has fewer; and the tokens that were run.
    """
    if isinstance(config.sampling, Beam):
        found = beam_search(model, trie, prompts, config.group, config.normalisation)
        return found.items, found.forwarded
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config.sampling, Multinomial):
        sample = sample_items(model, trie, prompts, config.group, generator)
        return sample.items, sample.forwarded
    sample = sample_items(model, trie, prompts, math.ceil(config.sampling.oversample * config.group), generator)
    return dynamic_group(sample.items, targets, config.group), sample.forwarded
