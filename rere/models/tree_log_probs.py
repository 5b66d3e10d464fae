"""Log-probabilities of all G candidates of a prompt from one forward over prompt + unique trie nodes.

The plain way runs G copies of prompt + candidate: G · (prompt + L) tokens. Here a group's candidates are merged
into their prefix tree, whose nodes are further queries of the prompt's row: prompt + (unique nodes) tokens. The
numbers and the gradients are the same.

Under `trie` normalisation a token that is the only continuation has probability 1: its log-probability is 0, it is
left out of the mask (the policy decides nothing there), and no node with one item below is run.

Axes: P prompts, G candidates per prompt, L tokens of the longest candidate, U distinct nodes of all groups, T packed
tokens, R rows of edges, E edges of these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from rere.catalog.trie import ROOT, TokenTrie
from rere.config.decoding import Normalisation
from rere.models.child_log_probs import child_log_probs
from rere.models.packed_batch import Batch
from rere.models.ragged import ragged_arange, row_starts
from rere.models.tree_attention import TreeModel
from rere.models.tree_packing import GroupNodes, pack
from rere.models.trunks import Prompts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class GroupTree:
    """The prefix trees of P groups, ready to be scored by any weights of one model.

    packed_batch, tokens (T,), positions (T,): the packed forward
    hidden_at: (R,) packed index of the hidden state before each row of scored edges
    edge_tokens: (E,), edge_counts: (R,): edges of these rows, of which those at `edge_picked` (scored,) are candidates'
    path: (P, G, L) index among the picked edges of each candidate's tokens; mask: (P, G, L) where there is one
    """

    packed_batch: Batch
    tokens: Int[Tensor, " T"]
    positions: Int[Tensor, " T"]
    hidden_at: Int[Tensor, " R"]
    edge_tokens: Int[Tensor, " E"]
    edge_counts: Int[Tensor, " R"]
    edge_picked: Int[Tensor, " scored"]
    path: Int[Tensor, "P G L"]
    mask: Bool[Tensor, "P G L"]
    normalisation: Normalisation


def group_tree(
    trie: TokenTrie,
    prompts: Prompts,
    items: Int[Tensor, "P G"],
    normalisation: Normalisation,
    dtype: torch.dtype,
) -> GroupTree:
    """Merge each prompt's candidates into their prefix tree.

    Args:
        prompts: P token sequences, or branches of trunks.
        items: (P, G) item indices; -1 where a group is short.
        dtype: of the model's hidden states (for the attention mask).
    """
    device = items.device
    path = _paths(trie, items)  # (P, G, L) trie nodes, -1 beyond the item
    row_of = torch.arange(len(items), device=device)[:, None, None]
    keys, inverse = torch.unique((row_of * trie.nodes + path)[path >= 0], return_inverse=True)
    row, node = keys // trie.nodes, keys % trie.nodes  # (U,) by prompt, then breadth first
    parent = trie.parent[node]
    above = torch.searchsorted(keys, row * trie.nodes + parent).clamp(max=len(keys) - 1)

    # Which nodes run through the model: those with a scored edge somewhere below.
    run = trie.child_count[node] > 0 if normalisation == "vocab" else trie.leaves_below(node) > 1
    packing = pack(trie, prompts, GroupNodes(row, node, above, run), dtype)
    continued = torch.where(parent == ROOT, packing.prompt_at[row], packing.node_at[above])
    scored = trie.child_count[parent] > 1 if normalisation == "trie" else torch.ones_like(run)
    _, family = torch.unique_consecutive(row[scored] * trie.nodes + parent[scored], return_inverse=True)
    first = torch.zeros(int(family.max()) + 1 if len(family) else 0, dtype=torch.int64, device=device)
    first = first.scatter_reduce(0, family, torch.arange(len(family), device=device), "amin", include_self=False)
    hidden_at = continued[scored][first]
    if normalisation == "vocab":
        edge_tokens, edge_counts = trie.token[node], torch.bincount(family)
        picked = torch.arange(len(family), device=device)
    else:
        parents = parent[scored][first]
        edge_counts = trie.child_count[parents]
        source, offset = ragged_arange(edge_counts)
        edge_tokens = trie.token[trie.first_child[parents][source] + offset]
        picked = row_starts(edge_counts)[family] + node[scored] - trie.first_child[parent[scored]]
    position = torch.full_like(node, -1)
    position[scored] = torch.arange(len(family), device=device)
    by_candidate = torch.full_like(path, -1)
    by_candidate[path >= 0] = position[inverse]
    return GroupTree(
        packed_batch=packing.packed_batch,
        tokens=packing.tokens,
        positions=packing.positions,
        hidden_at=hidden_at,
        edge_tokens=edge_tokens,
        edge_counts=edge_counts,
        edge_picked=picked,
        path=by_candidate.clamp(min=0),
        mask=by_candidate >= 0,
        normalisation=normalisation,
    )


def _paths(trie: TokenTrie, items: Int[Tensor, "P G"]) -> Int[Tensor, "P G L"]:
    """(P, G, L) the trie nodes of each candidate from depth 1 on, -1 beyond its end."""
    node = torch.where(items >= 0, trie.item_leaf[items.clamp(min=0)], ROOT)
    path = torch.full((*items.shape, max(1, int(trie.depth[node].max()))), -1, device=items.device)
    while (node != ROOT).any():
        at = node != ROOT
        path[(*at.nonzero(as_tuple=True), trie.depth[node[at]] - 1)] = node[at]
        node = torch.where(at, trie.parent[node], ROOT)
    return path


class TreeLogProbs(nn.Module):
    """Scores group trees; a module, so that DDP sees the forward."""

    def __init__(self, model: TreeModel) -> None:
        super().__init__()
        self.inner = model.model
        self.tree_model = model

    def forward(self, tree: GroupTree) -> Float[Tensor, "P G L"]:
        """(P, G, L) log-probability of each candidate's tokens; 0 where the mask is False."""
        if not len(tree.edge_counts):  # a catalogue of one item leaves nothing to decide
            return torch.zeros(tree.mask.shape, device=tree.tokens.device)
        hidden = self.tree_model.hidden(tree.tokens, tree.positions, tree.packed_batch)[tree.hidden_at]
        edges = child_log_probs(self.tree_model.head, hidden, tree.edge_tokens, tree.edge_counts, tree.normalisation)
        return torch.where(tree.mask, edges[tree.edge_picked][tree.path], 0.0)
