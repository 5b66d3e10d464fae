"""Some items' probabilities multiplied by a factor, in the search itself: what isn't found can't be ranked anew.

The factor's logarithm is counted along the way: a node has the largest that any item below it has, so a branch's score
is never below that of an item to come, and it only falls. At a leaf the sum is the item's own log-probability plus its
log-factor, whatever the trie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import ROOT, TokenTrie

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Boost:
    """most: (N,) float32 the largest log-factor of an item below each node."""

    most: Float[Tensor, " N"]

    @classmethod
    def of(cls, trie: TokenTrie, items: Bool[Tensor, " I"], factor: float) -> Boost:
        """The marked items count `factor` times, the others once."""
        marked = items.to(trie.token.device)[trie.leaf_item].cumsum(0)
        before = torch.cat([marked.new_zeros(1), marked])  # (I + 1,) marked items among the first leaves
        below = before[trie.leaf_high] - before[trie.leaf_low]
        has_it = below > 0 if factor > 1 else below == trie.leaf_high - trie.leaf_low
        return cls(has_it.float() * math.log(factor))

    def along(self, node: Int[Tensor, " E"], parent: Int[Tensor, " E"]) -> Float[Tensor, " E"]:
        """(E,) what edges parent -> node add to a score; never positive."""
        return self.most[node] - self.most[parent]

    @property
    def start(self) -> Float[Tensor, ""]:
        """What every score begins with."""
        return self.most[ROOT]
