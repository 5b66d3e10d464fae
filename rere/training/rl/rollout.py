"""RL's candidates, from a sampler under the constraint or from free generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rere.catalog.trie import TokenTrie
from rere.config.rl import RLConfig
from rere.decoding.unconstrained import generate_freely
from rere.models.tree_attention import TreeModel
from rere.models.trunks import Prompts, Trunks
from rere.training.rl.samplers.base import Sampler, SamplerInputs

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """Candidates of P prompts.

    candidates: (P, G) int64 indices of sequences in `trie`, -1 where there are fewer
    items: (P, G) int64 item indices, -1 for what is no item; the same as `candidates` under the constraint
    trie: the catalogue's, or one over what was generated without the constraint
    forwarded: number of tokens run
    """

    candidates: Int[Tensor, "P G"]
    items: Int[Tensor, "P G"]
    trie: TokenTrie
    forwarded: int


def rollout(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Prompts,
    targets: Int[Tensor, " P"],
    config: RLConfig,
    *,
    seed: int,
    end: int | None = None,
) -> Rollout:
    """Generate candidates for each prompt.

    Args:
        targets: (P,) item indices; only some samplers use them.
        seed: of random draws.
        end: the token that ends an item; only unconstrained generation needs it.
    """
    if config.generation == "unconstrained":
        assert end is not None
        assert not isinstance(prompts, Trunks)  # the settings refuse them
        assert config.sampling.unconstrained is not None  # the settings refuse the others
        free = generate_freely(
            model, trie, end, prompts, config.num_generations, sampling=config.sampling.unconstrained, seed=seed
        )
        return Rollout(free.candidates, free.items, free.trie, free.forwarded)
    assert isinstance(config.sampling, Sampler)
    found = config.sampling(
        SamplerInputs(
            model,
            trie,
            prompts,
            targets=targets,
            num_generations=config.num_generations,
            normalisation=config.normalisation,
            seed=seed,
        )
    )
    return Rollout(found.items, found.items, trie, found.forwarded)
