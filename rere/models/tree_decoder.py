"""Decoding over the trie as tree attention: what beam search and sampling share.

- a prompt is prefilled once; its live branches are further queries of the same row, so keys and values are
  never repeated, reordered or copied;
- what a token may attend to follows from the trie: the tokens of its prompt, and those on the path to its node;
- the head is evaluated only for branches that fork and for forced tokens whose probability counts;
- tokens that leave no choice are run together: a branch that enters a path without forks has all of it scored in
  one forward (under `vocab`), and a branch with one item left needs no further forward under `trie`;
- a forward with spare room also runs the next depths of the small subtrees below the live branches (`lookahead`), so
  that a single request waits for fewer forwards.

Axes: P prompts, K live branches per prompt, B = P · K, E edges, T new tokens, W most new tokens of a prompt, S slots of
a prompt so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import ROOT, TokenTrie
from rere.config.decoding import SearchSettings
from rere.models.child_log_probs import child_log_probs, shared_child_log_probs
from rere.models.lookahead import Ahead, with_below
from rere.models.packed_batch import KVCache, PackedBatch
from rere.models.prefix_cache import PrefixCache
from rere.models.ragged import ragged_arange, row_starts
from rere.models.tree_attention import TreeModel
from rere.models.trunks import Prompts, Trunks

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

NEG_INF = -torch.inf


@dataclass
class Branches:
    """Live branches. score, node, cursor: (P, K); a dead branch's score is -inf. `cursor` is the index of its first
    edge's log-probability."""

    score: Float[Tensor, "P K"]
    node: Int[Tensor, "P K"]
    cursor: Int[Tensor, "P K"]


@dataclass(frozen=True)
class Edges:
    """Every edge that leaves a live branch, branch by branch.

    counts: (B,) edges of each branch; source: (E,) branch of each edge, in 0 … B - 1; log_prob: (E,)
    shift: (B,) the difference between the node that an edge leads to and the edge's index
    """

    counts: Int[Tensor, " B"]
    source: Int[Tensor, " E"]
    log_prob: Float[Tensor, " E"]
    shift: Int[Tensor, " B"]

    def nodes(self, edges: Int[Tensor, " ..."] | None = None) -> Int[Tensor, " ..."]:
        """The nodes that the edges at these indices (any shape) lead to; by default those of all edges (E,)."""
        if edges is None:
            edges = torch.arange(self.source.shape[0], device=self.source.device)
        return self.shift[self.source[edges]] + edges


class TreeDecoder:
    """Prompts and their live branches; all new tokens are run through the model here.

    Args:
        prompts: P token sequences, of any lengths, each at least one long; or branches of trunks.
        settings: `beams` is K, the most live branches per prompt.
        prefixes: keys and values of earlier prompts; those of these prompts are added. Not for trunks.

    Raises:
        RereError: a prompt with the longest item after it is longer than the model's context.

    Attributes:
        forwarded: tokens run through the model so far.
        required: tokens that any exact decoder must run: the prompts', and one per live branch and step.
    """

    def __init__(
        self,
        model: TreeModel,
        trie: TokenTrie,
        prompts: Prompts,
        settings: SearchSettings,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.model, self.trie, self.prefixes = model, trie, prefixes
        self.width, self.normalisation = settings.beams, settings.normalisation
        self.lookahead = settings.lookahead_tokens
        if isinstance(prompts, Trunks):
            self.lengths, self.next_positions = prompts.lengths, prompts.next_positions
        else:
            self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
            self.next_positions = self.lengths
        self.longest = int(self.lengths.max())
        model.require_room(int(self.next_positions.max()) + trie.max_length)
        self.seen, self.unseen = (torch.tensor(value, dtype=model.dtype, device=model.device) for value in (0, NEG_INF))
        # Room for every branch's whole path, or as much again as the prompts take; the store grows when it is short.
        room = self.width * (trie.max_length if self.normalisation == "vocab" else 4)
        self.store = KVCache(len(prompts), self.longest + min(room, self.longest + 4 * self.width))
        self.live = self._prefill(prompts)

    def _prefill(self, prompts: Prompts) -> Branches:
        """Run the prompts and score the root's edges."""
        device, count = self.model.device, len(prompts)
        hidden = self._run_trunks(prompts) if isinstance(prompts, Trunks) else self._run(prompts)

        # Leaves below the node of each slot, [low, high): a query attends to a slot if its first leaf is in the slot's
        # interval. A prompt's tokens have all leaves and one more, so that padding attends to something; padding has
        # none.
        items = self.trie.items
        absent = torch.arange(self.longest, device=device) >= self.lengths[:, None]
        self.leaves = torch.stack([items * absent, (items + 1) * ~absent])  # (2, P, S)

        # Entry 0 is the log-probability of an edge of probability 1.
        self.edge_scores = torch.zeros(1, dtype=_precision(self.model.dtype), device=device)
        self.ahead, self.depth = Ahead(self.trie), 0
        # All prompts continue from the root: with the same tokens.
        first, children = int(self.trie.first_child[ROOT]), int(self.trie.child_count[ROOT])
        tokens = self.trie.token[first : first + children]
        scores = shared_child_log_probs(self.model.head, hidden, tokens, self.normalisation)
        self.edge_scores = torch.cat([self.edge_scores, scores.flatten()])
        begin = torch.arange(count, device=device) * children + 1
        score = torch.full((count, self.width), NEG_INF, device=device)
        score[:, 0] = 0.0
        node = torch.full((count, self.width), ROOT, device=device)
        return Branches(score, node, begin[:, None].expand(-1, self.width))

    def _run(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "P width"]:
        """Run the prompts' tokens that aren't cached; (P, width) hidden states at the prompts' ends."""
        device, count = self.model.device, len(prompts)
        known = [0] * count if self.prefixes is None else self.prefixes.fill(prompts, self.store)
        tokens = torch.tensor([token for prompt, n in zip(prompts, known, strict=True) for token in prompt[n:]])
        tokens, first = tokens.to(device), torch.tensor(known, device=device)
        row, column = ragged_arange(self.lengths - first)
        slot, mask = first[row] + column, None
        if any(known):  # column j of a prompt is its token `first` + j
            ends = first[:, None] + torch.arange(int(column.max()) + 1, device=device)
            mask = torch.where(torch.arange(self.longest, device=device) > ends[:, :, None], self.unseen, self.seen)
            mask = mask[:, None]
        slot_index = row * self.store.capacity + slot
        packed_batch = PackedBatch(
            row=row,
            column=column,
            prompts=count,
            queries=int(column.max()) + 1,
            mask=mask,
            store=self.store,
            slot_index=slot_index,
            slots=self.longest,
        )
        self.slot_positions = torch.arange(self.longest, device=device).expand(count, -1)  # of every slot so far
        hidden = self.model.hidden(tokens, slot, packed_batch, self.slot_positions)
        if self.prefixes is not None:
            self.prefixes.keep(prompts, self.store)
        self.forwarded, self.required = len(tokens), int(self.lengths.sum())
        return hidden[torch.cumsum(self.lengths - first, 0) - 1]

    def _run_trunks(self, trunks: Trunks) -> Float[Tensor, "P width"]:
        """Run the trunks that the prompts branch off; (P, width) hidden states at the prompts' ends."""
        assert self.prefixes is None
        self.slot_positions = trunks.positions
        self.forwarded = self.required = len(trunks.tokens)
        return trunks.prefill(self.model, self.store)

    def edges(self) -> Edges:
        """Every edge that leaves a live branch."""
        live, trie = self.live, self.trie
        node = live.node.view(-1)
        counts = trie.child_count[node] * (live.score.view(-1) > NEG_INF)
        source, offset = ragged_arange(counts)
        log_prob = self.edge_scores[live.cursor.reshape(-1)[source] + offset]
        return Edges(counts, source, log_prob, trie.first_child[node] - row_starts(counts))

    def advance(self, score: Float[Tensor, "P K"], node: Int[Tensor, "P K"]) -> None:
        """Make the chosen edges the live branches, and run the model on new tokens.

        Args:
            score: (P, K) of each new branch, -inf for none
            node: (P, K) of each new branch.
        """
        self.depth += 1
        fresh = score > NEG_INF
        cursor = torch.zeros_like(node)
        if self.normalisation == "trie":  # with one item left, the other edges have probability 1
            fresh &= self.trie.leaves_below(node) > 1
        self.required += int(fresh.sum())
        self.live = Branches(score, node, cursor)
        if self.ahead:
            known, cursors = self.ahead.find(torch.arange(node.shape[0], device=node.device)[:, None], node)
            known &= fresh
            cursor.copy_(torch.where(known, cursors, 0))
            fresh &= ~known
        chosen = fresh.view(-1).nonzero()[:, 0]
        if chosen.shape[0]:
            self._forward(chosen)
        self.ahead.forget(self.depth)

    def rest(self) -> Float[Tensor, "P K"]:
        """(P, K) log-probability of the path from each live branch to its leaf, for branches with one leaf below."""
        if self.normalisation == "trie":
            return torch.zeros_like(self.live.score)
        edges = self.trie.run[self.live.node]  # their scores are stored one after the other
        step = torch.arange(int(edges.max()), device=edges.device)
        cursor = (self.live.cursor[:, :, None] + step).clamp(max=self.edge_scores.shape[0] - 1)
        return torch.where(step < edges[:, :, None], self.edge_scores[cursor], 0.0).sum(2)

    def count_rest(self, node: Int[Tensor, " live"]) -> None:
        """Count as required the tokens between live nodes (any,) with one leaf below and that leaf."""
        if self.normalisation == "vocab":
            self.required += int((self.trie.run[node] - 1).sum())

    def _forward(self, chosen: Int[Tensor, " chosen"]) -> None:
        """Run the chosen branches with their lookahead nodes; score all outgoing edges."""
        trie, prompts, width = self.trie, *self.live.node.shape
        node = self.live.node.view(-1)[chosen]
        row = chosen if width == 1 else chosen.div(width, rounding_mode="floor")
        top = None
        row, node, depths = with_below(trie, row, node, self.normalisation, self.lookahead)
        if depths > 1:
            keys, order = self.ahead.order(row, node).sort()
            row, node = row[order], node[order]
            top = torch.argsort(order)[: chosen.shape[0]]

        queries = torch.bincount(row, minlength=prompts)
        column = torch.arange(row.shape[0], device=row.device) - row_starts(queries)[row]
        most, used = int(queries.max()), self.leaves.shape[2]
        new = self.leaves.new_empty((2, prompts, most))
        new[0], new[1] = trie.items, 0  # an interval that no token attends to
        new[0, row, column], new[1, row, column] = trie.leaf_low[node], trie.leaf_high[node]
        self.leaves = torch.cat([self.leaves, new], 2)
        own, (low, high) = new[0, :, :, None], self.leaves[:, :, None]  # (P, W, 1), (P, 1, S)
        sees = ((low <= own) & (own < high)).tril(used)
        mask = torch.where(sees, self.seen, self.unseen)[:, None]

        self.store.reserve(used + most)
        slot_index = row * self.store.capacity + used + column
        packed_batch = PackedBatch(
            row=row,
            column=column,
            prompts=prompts,
            queries=most,
            mask=mask,
            store=self.store,
            slot_index=slot_index,
            slots=used + most,
        )
        positions = self.next_positions[row] + trie.depth[node] - 1
        if self.model.windowed:
            fresh = positions.new_zeros((prompts, most)).index_put((row, column), positions)
            self.slot_positions = torch.cat([self.slot_positions, fresh], 1)
        hidden = self.model.hidden(trie.token[node], positions, packed_batch, self.slot_positions)
        self.forwarded += node.shape[0]

        cursors = self._keep_scores(hidden, node)
        self.live.cursor.view(-1)[chosen] = cursors if top is None else cursors[top]
        if top is not None:
            self.ahead.add(keys, cursors, self.depth + depths - 1)

    def _keep_scores(self, hidden: Float[Tensor, "T width"], node: Int[Tensor, " T"]) -> Int[Tensor, " T"]:
        """Score all edges that leave the nodes (T,) with hidden states (T, width); returns the nodes' cursors (T,)."""
        trie = self.trie
        counts = trie.child_count[node]
        source, offset = ragged_arange(counts)
        tokens = trie.token[trie.first_child[node][source] + offset]
        if self.normalisation == "trie":  # an only child has probability 1
            several = counts > 1
            scores, forks = self.edge_scores.new_zeros(source.shape[0]), several[source]
            scores[forks] = child_log_probs(self.model.head, hidden[several], tokens[forks], counts[several], "trie")
        else:
            scores = child_log_probs(self.model.head, hidden, tokens, counts, "vocab")
        # Earlier scores are still needed if a branch is among the nodes that were run ahead.
        before = self.edge_scores if self.ahead else self.edge_scores[:1]
        self.edge_scores = torch.cat([before, scores])
        return row_starts(counts) + before.shape[0]


def _precision(dtype: torch.dtype) -> torch.dtype:
    """Of scores."""
    return dtype if dtype == torch.float64 else torch.float32
