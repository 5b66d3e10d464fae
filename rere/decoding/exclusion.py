"""Items that a search must not return: removed from the catalogue, out of stock, or unwanted by one prompt.

A node is closed when every item below it is excluded. Excluded items are kept as sorted positions among the trie's
leaves, so the number below a node is the difference of two binary searches. No mask of the catalogue's size is made,
whatever the number of prompts.

Scores stay those of the whole catalogue, under both normalisations: the ranking is the full ranking without the
excluded items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import TokenTrie

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


@dataclass(frozen=True)
class Exclusions:
    """For P prompts over a trie of I items, all int64 and sorted.

    shared: (shared,) leaf positions that no prompt may reach
    own: (own,) prompt * I + leaf position, for one prompt each; none of them is shared
    """

    shared: Int[Tensor, " shared"]
    own: Int[Tensor, " own"]
    items: int
    prompts: int

    @classmethod
    def of(cls, trie: TokenTrie, shared: Int[Tensor, " shared"], own: Sequence[Iterable[int]]) -> Exclusions:
        """Exclude each prompt's `own` items (indices, any order, repeats allowed) and everybody's `shared`.

        Args:
            shared: from `leaf_positions`.
        """
        pairs = {(prompt, item) for prompt, items in enumerate(own) for item in items}
        table = torch.tensor(sorted(pairs), dtype=torch.int64, device=shared.device).view(-1, 2)
        positions = trie.leaf_low[trie.item_leaf[table[:, 1]]]
        alone = ~torch.isin(positions, shared)
        keys = (table[:, 0] * trie.items + positions)[alone].sort().values
        return cls(shared, keys, trie.items, len(own))

    def closes(self, trie: TokenTrie, row: Int[Tensor, " E"], node: Int[Tensor, " E"]) -> Bool[Tensor, " E"]:
        """(E,) whether all items below each node (E,) are excluded for its prompt (E,)."""
        low, high = trie.leaf_low[node], trie.leaf_high[node]
        return self._between(row, low, high) == high - low

    def left(self) -> Int[Tensor, " P"]:
        """(P,) number of items that each prompt may still get."""
        row = torch.arange(self.prompts, device=self.shared.device)
        low = torch.zeros_like(row)
        return self.items - self._between(row, low, low + self.items)

    def _between(self, row: Int[Tensor, " E"], low: Int[Tensor, " E"], high: Int[Tensor, " E"]) -> Int[Tensor, " E"]:
        """Number of excluded leaves of each prompt in [low, high)."""
        count = torch.searchsorted(self.shared, high) - torch.searchsorted(self.shared, low)
        if len(self.own):
            first = row * self.items
            count = count + torch.searchsorted(self.own, first + high) - torch.searchsorted(self.own, first + low)
        return count


def leaf_positions(trie: TokenTrie, items: Iterable[int]) -> Int[Tensor, " shared"]:
    """Sorted leaf positions of distinct items, on the trie's device."""
    index = torch.tensor(sorted(set(items)), dtype=torch.int64, device=trie.item_leaf.device)
    return trie.leaf_low[trie.item_leaf[index]].sort().values
