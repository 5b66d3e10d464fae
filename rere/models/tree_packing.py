"""The layout of prompts and their candidates' prefix trees in one packed forward.

Separate prompts: a row has a prompt's tokens, then its nodes. Branches of trunks: all trunks come first, then the nodes
of each prompt.

Axes: P prompts, U distinct trie nodes of all groups, T packed tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import TokenTrie
from rere.models.packed_batch import Batch, PackedBatch
from rere.models.ragged import ragged_arange, row_starts
from rere.models.trunk_batch import TrunkBatch
from rere.models.trunks import Prompts, Trunks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class GroupNodes:
    """The trie nodes on the candidates' paths, by prompt, then breadth first; without the root.

    row, node: (U,) prompt and trie node; above: (U,) index of the parent among them, arbitrary for the root's children
    run: (U,) bool, whether the node is run through the model
    """

    row: Int[Tensor, " U"]
    node: Int[Tensor, " U"]
    above: Int[Tensor, " U"]
    run: Bool[Tensor, " U"]

    def counts(self, prompts: int) -> Int[Tensor, " P"]:
        """(P,) number of each prompt's nodes that are run."""
        return torch.bincount(self.row[self.run], minlength=prompts)


@dataclass(frozen=True)
class Packing:
    """packed_batch, tokens (T,), positions (T,): the packed forward
    prompt_at: (P,) index in it of each prompt's last token; node_at: (U,) of each node, -1 if it isn't run
    """

    packed_batch: Batch
    tokens: Int[Tensor, " T"]
    positions: Int[Tensor, " T"]
    prompt_at: Int[Tensor, " P"]
    node_at: Int[Tensor, " U"]


def pack(trie: TokenTrie, prompts: Prompts, nodes: GroupNodes, dtype: torch.dtype) -> Packing:
    """Lay out prompts and the nodes that follow each.

    Args:
        dtype: of the model's hidden states (for the attention mask).
    """
    if isinstance(prompts, Trunks):
        return _pack_trunks(trie, prompts, nodes, dtype)
    return _pack_windows(trie, prompts, nodes, dtype)


def _pack_windows(trie: TokenTrie, prompts: Sequence[Sequence[int]], nodes: GroupNodes, dtype: torch.dtype) -> Packing:
    device, count = nodes.row.device, len(prompts)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    widths = lengths + nodes.counts(count)
    row, node = nodes.row[nodes.run], nodes.node[nodes.run]
    grid_row, grid_column = ragged_arange(widths)
    is_node = grid_column >= lengths[grid_row]
    tokens = torch.empty(len(grid_row), dtype=torch.int64, device=device)
    tokens[~is_node] = torch.tensor([token for prompt in prompts for token in prompt], device=device)
    tokens[is_node] = trie.token[node]
    positions = grid_column.clone()
    positions[is_node] = lengths[row] + trie.depth[node] - 1

    width = int(widths.max())
    steps = torch.arange(width, device=device)
    in_prompt = steps < lengths[:, None]  # (P, S)
    sees = in_prompt[:, None, :].repeat(1, width, 1)
    sees &= (steps[:, None] >= steps) | ~in_prompt[:, :, None]
    column = torch.full_like(nodes.row, -1)
    column[nodes.run] = grid_column[is_node]
    _show_ancestors(sees, trie, nodes, column)
    begins = row_starts(widths)
    return Packing(
        PackedBatch(grid_row, grid_column, count, width, _additive(sees, dtype)),
        tokens,
        positions,
        begins + lengths - 1,
        torch.where(nodes.run, begins[nodes.row] + column, -1),
    )


def _pack_trunks(trie: TokenTrie, trunks: Trunks, nodes: GroupNodes, dtype: torch.dtype) -> Packing:
    device, count, prompt_width = nodes.row.device, *trunks.source.shape
    row, node, before = nodes.row[nodes.run], nodes.node[nodes.run], len(trunks.tokens)
    fed = nodes.counts(count)
    _, order = ragged_arange(fed)
    node_at, branches = torch.full_like(nodes.row, -1), None
    node_at[nodes.run] = before + torch.arange(len(row), device=device)
    if len(row):
        most = int(fed.max())
        source = torch.cat([trunks.source, torch.zeros((count, most), dtype=torch.int64, device=device)], 1)
        source[row, prompt_width + order] = node_at[nodes.run]
        sees = torch.zeros((count, most, prompt_width + most), dtype=torch.bool, device=device)
        slots = torch.arange(prompt_width, device=device)
        # Padding queries attend to the prompt too: a softmax over nothing is NaN.
        sees[:, :, :prompt_width] = (slots < trunks.lengths[:, None])[:, None]
        column = torch.full_like(nodes.row, -1)
        column[nodes.run] = order
        _show_ancestors(sees, trie, nodes, column, prompt_width)
        branches = PackedBatch(row, order, count, most, _additive(sees, dtype), source=source)
    return Packing(
        TrunkBatch(trunks.packed_batch(dtype), branches),
        torch.cat([trunks.tokens, trie.token[node]]),
        torch.cat([trunks.column, trunks.next_positions[row] + trie.depth[node] - 1]),
        trunks.ends,
        node_at,
    )


def _show_ancestors(
    sees: Bool[Tensor, "P Q S"], trie: TokenTrie, nodes: GroupNodes, column: Int[Tensor, " U"], first_slot: int = 0
) -> None:
    """Let each node that is run attend to itself and its ancestors.

    Args:
        sees: (P, Q, S) changed in place.
        column: (U,) the query index of each node; its key's slot is `first_slot` higher.
    """
    depth = trie.depth[nodes.node]
    deepest = int(depth[nodes.run].max()) if nodes.run.any() else 0
    for level in range(1, deepest + 1):
        at = (nodes.run & (depth == level)).nonzero()[:, 0]
        row, query = nodes.row[at], column[at]
        if level > 1:
            sees[row, query] = sees[row, column[nodes.above[at]]]
        sees[row, query, first_slot + query] = True


def _additive(sees: Bool[Tensor, "P Q S"], dtype: torch.dtype) -> Float[Tensor, "P 1 Q S"]:
    """(P, Q, S) bool -> (P, 1, Q, S), 0 or -inf."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, -torch.inf)[:, None]
