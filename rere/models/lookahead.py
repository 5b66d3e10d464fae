"""Nodes that are evaluated early: unary chains and small subtrees below live branches.

Axes: T nodes that are run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import Normalisation
from rere.models.ragged import ragged_arange

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


def with_below(
    trie: TokenTrie,
    row: Int[Tensor, " branches"],
    node: Int[Tensor, " branches"],
    normalisation: Normalisation,
    tokens: int,
) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"], int]:
    """Add to the branches the nodes below them that the same forward runs.

    Whole depths are added while all nodes together are at most `tokens`; then only paths without forks.

    Args:
        row, node: (branches,) prompt and node of each branch.

    Returns:
        row, node: (T,), the branches first; and the number of depths that they span.
    """
    rows, nodes, total = [row], [node], node.shape[0]
    while total < tokens:
        source, offset = ragged_arange(trie.child_count[node])
        child = trie.first_child[node][source] + offset
        continues = trie.leaves_below(child) > 1 if normalisation == "trie" else trie.child_count[child] > 0
        below = child[continues]
        total += below.shape[0]
        if total > tokens or not below.shape[0]:
            break
        node, row = below, row[source[continues]]
        rows.append(row)
        nodes.append(node)
    depths = len(nodes)
    forced = trie.run[node] - 1
    longest = int(forced.max())
    if longest:
        source, offset = ragged_arange(forced)
        item = trie.leaf_item[trie.leaf_low[node]]  # all items below share the path
        token = (trie.item_offsets[item] + trie.depth[node])[source] + offset
        rows.append(row[source])
        nodes.append(trie.item_nodes[token])
    return torch.cat(rows), torch.cat(nodes), depths + longest


class Ahead:
    """Nodes that were run before a branch reached them, and the cursors of their edges' scores."""

    def __init__(self, trie: TokenTrie) -> None:
        self.trie = trie
        self.keys = self.cursors = trie.token.new_empty(0)
        self.depth = 0  # of the deepest node here

    def __bool__(self) -> bool:
        return self.keys.shape[0] > 0

    def order(self, row: Int[Tensor, " ..."], node: Int[Tensor, " ..."]) -> Int[Tensor, " ..."]:
        """Keys that sort nodes by prompt, then depth first: ancestors first, paths without forks together."""
        trie = self.trie
        return (row * trie.items + trie.leaf_low[node]) * trie.nodes + trie.depth[node]

    def add(self, keys: Int[Tensor, " T"], cursors: Int[Tensor, " T"], depth: int) -> None:
        """Remember nodes by their sort keys (T,) and cursors (T,); the deepest is at `depth`."""
        self.keys, order = torch.cat([self.keys, keys]).sort()
        self.cursors = torch.cat([self.cursors, cursors])[order]
        self.depth = max(self.depth, depth)

    def find(
        self, row: Int[Tensor, " ..."], node: Int[Tensor, " ..."]
    ) -> tuple[Bool[Tensor, " ..."], Int[Tensor, " ..."]]:
        """Whether each node (any shape) was run ahead, and its cursor."""
        wanted = self.order(row, node)
        index = torch.searchsorted(self.keys, wanted).clamp(max=self.keys.shape[0] - 1)
        return self.keys[index] == wanted, self.cursors[index]

    def forget(self, depth: int) -> None:
        """Drop everything once the branches, at `depth`, have reached the deepest node here."""
        if depth >= self.depth:
            self.keys = self.cursors = self.keys.new_empty(0)
