"""Nodes that are evaluated early: unary chains and small subtrees below live beams.

Axes: F branches, T nodes.
"""

from __future__ import annotations

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import Normalisation
from rere.models.child_log_probs import ragged_arange


def with_below(
    trie: TokenTrie, row: torch.Tensor, node: torch.Tensor, normalisation: Normalisation, tokens: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Branches and the nodes below them that are run along, and how many depths that makes.

    A depth is taken whole while all together are at most `tokens`; after that, only what leaves no choice.

    Args:
        row, node: (F,) prompt and node of each branch.

    Returns:
        row, node: (T,), the branches first.
    """
    rows, nodes, total = [row], [node], node.shape[0]
    while total < tokens:
        source, offset = ragged_arange(trie.child_count[node])
        child = trie.first_child[node][source].add_(offset)
        goes_on = trie.leaves_below(child) > 1 if normalisation == "trie" else trie.child_count[child] > 0
        below = child[goes_on]
        total += below.shape[0]
        if total > tokens or not below.shape[0]:
            break
        node, row = below, row[source[goes_on]]
        rows.append(row)
        nodes.append(node)
    depths = len(nodes)
    forced = trie.run[node] - 1
    longest = int(forced.max())
    if longest:
        source, offset = ragged_arange(forced)
        item = trie.leaf_item[trie.leaf_low[node]]  # all items below share the way
        place = (trie.item_offsets[item] + trie.depth[node])[source].add_(offset)
        rows.append(row[source])
        nodes.append(trie.item_nodes[place])
    return torch.cat(rows), torch.cat(nodes), depths + longest


class Ahead:
    """Where the edges' scores are of nodes that have been run before a branch got there."""

    def __init__(self, trie: TokenTrie) -> None:
        self.trie = trie
        self.keys = self.cursors = trie.token.new_empty(0)
        self.depth = 0  # of the deepest node here

    def __bool__(self) -> bool:
        return self.keys.shape[0] > 0

    def order(self, row: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """Numbers that order nodes by prompt, then depth first: ancestors first, a way without forks together."""
        trie = self.trie
        return (row * trie.items).add(trie.leaf_low[node]).mul_(trie.nodes).add_(trie.depth[node])

    def add(self, keys: torch.Tensor, cursors: torch.Tensor, depth: int) -> None:
        """Remember nodes (T,), by their order, down to `depth`."""
        self.keys, order = torch.cat([self.keys, keys]).sort()
        self.cursors = torch.cat([self.cursors, cursors])[order]
        self.depth = max(self.depth, depth)

    def find(self, row: torch.Tensor, node: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether nodes (any shape) are here, and their cursors."""
        wanted = self.order(row, node)
        place = torch.searchsorted(self.keys, wanted).clamp_(max=self.keys.shape[0] - 1)
        return self.keys[place] == wanted, self.cursors[place]

    def forget(self, depth: int) -> None:
        """Drop everything once branches are as deep as `depth` and nothing here is deeper."""
        if depth >= self.depth:
            self.keys = self.cursors = self.keys.new_empty(0)
