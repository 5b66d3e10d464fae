"""Item-level prior mixed into each edge of the trie (D3).

An item model's probability of a node is the mass of the items below it. A child's share of its parent's mass is the
probability of that step, and the shares along an item's path multiply to the item's own probability. D3 (Bao et al.,
"Decoding Matters", arXiv 2406.14900) mixes a text-free model into decoding this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import ROOT, TokenTrie

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class ItemPrior:
    """log_mass: (P, N) float32 log of the item model's probability below each node; weight: its share of a score."""

    log_mass: Float[Tensor, "P N"]
    weight: float

    def mixed(
        self, score: Float[Tensor, " E"], row: Int[Tensor, " E"], node: Int[Tensor, " E"], parent: Int[Tensor, " E"]
    ) -> Float[Tensor, " E"]:
        """(E,) scores of edges parent -> node of the prompts `row`, mixed with the shares of mass.

        Never positive where `score` is not, so a search may stop as early as without an item prior.
        """
        share = self.log_mass[row, node] - self.log_mass[row, parent]
        return (1 - self.weight) * score + self.weight * share


def node_log_mass(trie: TokenTrie, log_probs: Float[Tensor, "P I"]) -> Float[Tensor, "P N"]:
    """Sum item probabilities up the trie.

    Args:
        log_probs: (P, I) float64 log-probabilities of the items, any of them -inf.

    Returns:
        (P, N) float32 log of the mass below each node; never above its parent's.
    """
    return node_mass(trie, log_probs.exp()).log().float()


def node_mass(trie: TokenTrie, probabilities: Float[Tensor, "P I"]) -> Float[Tensor, "P N"]:
    """(P, N) the sum of item probabilities (P, I) below each node, in their precision."""
    mass = probabilities.new_zeros((len(probabilities), trie.nodes))
    mass[:, trie.item_leaf] = probabilities
    levels = torch.bincount(trie.depth)
    high = trie.nodes
    for size in levels.flip(0)[:-2].tolist():  # nodes are numbered breadth first
        low = high - size
        mass.index_add_(1, trie.parent[low:high], mass[:, low:high].clone())
        high = low
    mass[:, ROOT] += mass[:, 1:high].sum(1)  # the last level without an index: items of one token have no other
    return mass
