"""The item trie as flat tensors: masking a beam is one gather, whatever the catalogue's size.

Nodes are numbered breadth first with siblings together, so a node's children are the range
`first_child[n] : first_child[n] + child_count[n]`; leaves are sorted, so the items below a node are the
range `leaf_low[n] : leaf_high[n]` of `leaf_item`. Built in time linear in the catalogue's tokens (radix
sort by token columns, then one pass per level), in NumPy, without a Python object per item.

The flat layout follows the idea of STATIC (arXiv 2602.22647): contiguous children instead of pointers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rere.errors import RereError

ROOT = 0


@dataclass(frozen=True)
class TokenTrie:
    """N nodes over I items; every tensor int64. The root is node 0 and has token and parent -1.

    token, parent, depth, first_child, child_count, leaf_low, leaf_high: (N,)
    run: (N,) nodes from this one to the next branching node, inclusive; a final leaf isn't counted
    leaf_item: (I,) item index of each leaf in sorted order
    item_offsets: (I + 1,), item_tokens: (sum of lengths,) the items' token sequences
    item_leaf: (I,) leaf node of each item
    item_nodes: (sum of lengths,) the node of each token of `item_tokens`; not saved, it follows from the others
    """

    token: torch.Tensor
    parent: torch.Tensor
    depth: torch.Tensor
    first_child: torch.Tensor
    child_count: torch.Tensor
    leaf_low: torch.Tensor
    leaf_high: torch.Tensor
    run: torch.Tensor
    leaf_item: torch.Tensor
    item_offsets: torch.Tensor
    item_tokens: torch.Tensor
    item_leaf: torch.Tensor
    item_nodes: torch.Tensor

    @property
    def nodes(self) -> int:
        return len(self.token)

    @property
    def items(self) -> int:
        return len(self.leaf_item)

    @cached_property
    def max_length(self) -> int:
        """Tokens of the longest item."""
        return int(self.depth.max())

    def to(self, device: torch.device | str) -> TokenTrie:
        return TokenTrie(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def item(self, index: int) -> list[int]:
        """An item's tokens."""
        low, high = self.item_offsets[index : index + 2].tolist()
        return self.item_tokens[low:high].tolist()

    def leaves_below(self, nodes: torch.Tensor) -> torch.Tensor:
        """Items below each node; any shape."""
        return self.leaf_high[nodes] - self.leaf_low[nodes]

    def walk(self, tokens: Sequence[int]) -> int:
        """The deepest node that these tokens lead to; its depth says how many of them do. For a trie on the CPU."""
        node = ROOT
        for token in tokens:
            first = int(self.first_child[node])
            children = self.token[first : first + int(self.child_count[node])].numpy()  # sorted
            child = int(np.searchsorted(children, token))
            if child == len(children) or children[child] != token:
                break
            node = first + child
        return node

    def save(self, path: Path) -> None:
        kept = [field.name for field in fields(self) if field.name != "item_nodes"]
        save_file({name: getattr(self, name).contiguous() for name in kept}, path)

    @classmethod
    def load(cls, path: Path) -> TokenTrie:
        kept = load_file(path)
        return cls(**kept, item_nodes=_item_nodes(kept))


def build_trie(sequences: Sequence[Sequence[int]] | tuple[np.ndarray, np.ndarray]) -> TokenTrie:
    """Build the trie of I token sequences, given as lists or as (flat tokens, offsets (I + 1,)).

    Raises:
        RereError: no items, an empty sequence, two items with the same sequence, or one whose sequence
            begins another's (an end token prevents that).
    """
    if isinstance(sequences, tuple):
        flat, offsets = (np.asarray(part, dtype=np.int64) for part in sequences)
    else:
        lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.fromiter((t for sequence in sequences for t in sequence), dtype=np.int64, count=offsets[-1])
    lengths = np.diff(offsets)
    if not len(lengths) or lengths.min() < 1:
        raise RereError(
            "at least one item, each with at least one token",
            "no items" if not len(lengths) else f"no tokens for item {int(lengths.argmin())}",
            "check the catalogue's titles and the tokenizer",
        )
    matrix = np.full((len(lengths), lengths.max()), -1, dtype=np.int32)  # (I, L), -1 after the end
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = flat
    order = _radix_order(matrix)
    rows, lengths_sorted = matrix[order], lengths[order]
    shared = np.concatenate([[0], _common_prefix(rows)])  # tokens shared with the row before
    clash = np.flatnonzero(shared[1:] >= np.minimum(lengths_sorted[1:], lengths_sorted[:-1]))
    if len(clash):
        first, second = order[clash[0]], order[clash[0] + 1]
        raise RereError(
            "items of which none begins another",
            f"items {first} and {second} with tokens {matrix[first][: lengths[first]].tolist()} "
            f"and {matrix[second][: lengths[second]].tolist()}",
            "end each sequence with an end token and disambiguate equal titles",
        )
    return _number_nodes(rows, lengths_sorted, shared, order, flat, offsets=offsets)


def _radix_order(matrix: np.ndarray) -> np.ndarray:
    """Row order that sorts a non-negative-after-shift int matrix; least significant column first."""
    order = np.arange(len(matrix))
    for column in range(matrix.shape[1] - 1, -1, -1):
        keys = (matrix[:, column] + 1).astype(np.uint32)
        for shift in (0, 16) if keys.max() >> 16 else (0,):
            digit = (keys >> shift).astype(np.uint16)  # NumPy's stable sort of 16-bit keys is a radix sort
            order = order[np.argsort(digit[order], kind="stable")]
    return order


def _common_prefix(rows: np.ndarray) -> np.ndarray:
    """(I - 1,) tokens that each row shares with the one before it."""
    alive = np.ones(len(rows) - 1, dtype=bool)
    shared = np.zeros(len(rows) - 1, dtype=np.int64)
    for column in range(rows.shape[1]):
        alive &= (rows[1:, column] == rows[:-1, column]) & (rows[1:, column] >= 0)
        shared += alive
    return shared


def _number_nodes(
    rows: np.ndarray,
    lengths: np.ndarray,
    shared: np.ndarray,
    order: np.ndarray,
    flat: np.ndarray,
    *,
    offsets: np.ndarray,
) -> TokenTrie:
    """One pass a level over the sorted rows: a row starts a node where it stops sharing its prefix."""
    items = len(rows)
    token, parent, depth = [np.array([-1])], [np.array([-1])], [np.array([0])]
    low, high = [np.array([0])], [np.array([items])]
    above = np.zeros(items, dtype=np.int64)  # node of each row one level up
    leaf_node = np.zeros(items, dtype=np.int64)
    nodes = 1
    for level in range(1, rows.shape[1] + 1):
        alive = np.flatnonzero(lengths >= level)
        starts = shared[alive] < level
        starts[0] = True
        begin = alive[starts]
        here = nodes + np.cumsum(starts) - 1  # node of each alive row
        token.append(rows[begin, level - 1].astype(np.int64))
        parent.append(above[begin])
        depth.append(np.full(len(begin), level))
        low.append(begin)
        high.append(begin + np.bincount(here - nodes))
        above = above.copy()
        above[alive] = here
        ends = lengths[alive] == level
        leaf_node[alive[ends]] = here[ends]
        nodes += len(begin)
    parents = np.concatenate(parent)
    child_count = np.bincount(parents[1:], minlength=nodes)
    first_child = 1 + np.cumsum(child_count) - child_count
    item_leaf = np.empty(items, dtype=np.int64)
    item_leaf[order] = leaf_node
    arrays = {
        "token": np.concatenate(token),
        "parent": parents,
        "depth": np.concatenate(depth),
        "first_child": first_child,
        "child_count": child_count,
        "leaf_low": np.concatenate(low),
        "leaf_high": np.concatenate(high),
        "run": _runs(child_count, first_child, [len(level) for level in token]),
        "leaf_item": order,
        "item_offsets": offsets,
        "item_tokens": flat,
        "item_leaf": item_leaf,
    }
    tensors = {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}
    return TokenTrie(**tensors, item_nodes=_item_nodes(tensors))


def _item_nodes(trie: dict[str, torch.Tensor]) -> torch.Tensor:
    """`TokenTrie.item_nodes`, from the leaves up."""
    nodes = torch.empty_like(trie["item_tokens"])
    node, position, begin = trie["item_leaf"], trie["item_offsets"][1:] - 1, trie["item_offsets"][:-1]
    while len(node):
        nodes[position] = node
        left = position > begin
        node, position, begin = trie["parent"][node[left]], position[left] - 1, begin[left]
    return nodes


def _runs(child_count: np.ndarray, first_child: np.ndarray, level_sizes: list[int]) -> np.ndarray:
    """`TokenTrie.run`, from the deepest level up."""
    run = (child_count > 0).astype(np.int64)
    high = len(run)
    for size in reversed(level_sizes):
        level = np.arange(high - size, high)
        single = level[child_count[level] == 1]
        run[single] += run[first_child[single]]
        high -= size
    return run
