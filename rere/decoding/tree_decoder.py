"""Decoding over the trie as tree attention: what beam search and sampling share.

- a prompt is prefilled once; its live branches are further queries of the same row, so keys and values are
  never repeated, reordered or copied;
- the head is evaluated only for branches that fork and for forced tokens whose probability counts;
- tokens that leave no choice are run together: a branch that enters a way without forks gets all of it scored in
  one forward (under `vocab`), and one whose item is settled needs no more forward at all under `trie`.

Axes: P prompts, K live branches a prompt, E edges, T tree slots of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rere.catalog.trie import ROOT, TokenTrie
from rere.config import Normalisation
from rere.decoding.edges import edge_log_probs, ragged_arange
from rere.decoding.forest import KeyValueStore, TokenForest
from rere.decoding.prefix_cache import PrefixCache
from rere.decoding.tree_attention import TreeModel

NEVER = -torch.inf


@dataclass
class Branches:
    """Live branches. score, node, cursor: (P, K); a dead branch's score is -inf. sees: (P, K, T) tree slots
    that its next token may attend to. `cursor` points at the log-probability of its first edge."""

    score: torch.Tensor
    node: torch.Tensor
    cursor: torch.Tensor
    sees: torch.Tensor


class TreeDecoder:
    """Prompts, their live branches, and the one place that runs the model on new tokens.

    Args:
        prompts: P token sequences, of any lengths, each at least one long.
        width: K, live branches a prompt at most.
        prefixes: what is known of prompts' beginnings from searches before, and where to keep these.

    Attributes:
        forwarded: tokens run through the model so far.
        required: tokens that any exact decoder must have run: prompts, and every live branch's each step.
    """

    def __init__(
        self,
        model: TreeModel,
        trie: TokenTrie,
        prompts: Sequence[Sequence[int]],
        width: int,
        normalisation: Normalisation,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.model, self.trie, self.normalisation, self.width = model, trie, normalisation, width
        self.prefixes = prefixes
        self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        self.longest = int(self.lengths.max())
        # Room for a few steps of K queries; the store grows when more is needed.
        self.store = KeyValueStore(len(prompts), self.longest + 4 * width)
        self.live = self._prefill(prompts)

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> Branches:
        """Run the prompts and score the root's edges."""
        device, count = self.model.device, len(prompts)
        known = [0] * count if self.prefixes is None else self.prefixes.fill(prompts, self.store)
        tokens = torch.tensor([token for prompt, n in zip(prompts, known, strict=True) for token in prompt[n:]])
        tokens, first = tokens.to(device), torch.tensor(known, device=device)
        row, column = ragged_arange(self.lengths - first)
        slot, mask = first[row] + column, None
        if any(known):  # column j of a prompt is its token `first` + j
            ends = first[:, None] + torch.arange(int(column.max()) + 1, device=device)
            hidden_slots = torch.arange(self.longest, device=device) > ends[:, :, None]
            mask = torch.zeros(hidden_slots.shape, dtype=self.model.dtype, device=device)
            mask = mask.masked_fill(hidden_slots, NEVER)[:, None]
        queries = int(column.max()) + 1
        place = row * self.store.capacity + slot
        forest = TokenForest(row, column, count, queries, mask, self.store, place, self.longest)
        hidden = self.model.hidden(tokens, slot, forest)[torch.cumsum(self.lengths - first, 0) - 1]
        if self.prefixes is not None:
            self.prefixes.keep(prompts, self.store)
        self.forwarded, self.required = len(tokens), int(self.lengths.sum())
        children = int(self.trie.child_count[ROOT])
        begin = int(self.trie.first_child[ROOT])
        root_tokens = self.trie.token[begin : begin + children].repeat(count)
        counts = torch.full((count,), children, device=device)
        scores = edge_log_probs(self.model.head, hidden, root_tokens, counts, self.normalisation)
        self.edge_scores = torch.cat([scores.new_zeros(1), scores])  # entry 0: a certain edge
        score = torch.full((count, self.width), NEVER, device=device)
        score[:, 0] = 0.0
        cursor = torch.zeros((count, self.width), dtype=torch.int64, device=device)
        cursor[:, 0] = 1 + torch.arange(count, device=device) * children
        return Branches(
            score=score,
            node=torch.zeros_like(cursor),
            cursor=cursor,
            sees=torch.zeros((count, self.width, 0), dtype=torch.bool, device=device),
        )

    def edges(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Every edge that leaves a live branch, prompt by prompt: prompt, branch, child node, log-probability; (E,)."""
        live, trie = self.live, self.trie
        row, branch = (live.score > NEVER).nonzero(as_tuple=True)
        node = live.node[row, branch]
        source, offset = ragged_arange(trie.child_count[node])
        log_prob = self.edge_scores[live.cursor[row, branch][source] + offset]
        return row[source], branch[source], trie.first_child[node][source] + offset, log_prob

    def advance(self, score: torch.Tensor, node: torch.Tensor, parent: torch.Tensor) -> None:
        """Make the chosen edges the live branches; run the model where a new token needs it.

        Args:
            score: (P, K') of each new branch, -inf for none; node: its node; parent: the branch it continues.
        """
        old, trie = self.live, self.trie
        alive = score > NEVER
        above = old.node.gather(1, parent)
        already_run = (trie.child_count[above] == 1) & (above != ROOT)  # with the run of a node above; never the root's
        cursor = old.cursor.gather(1, parent) + 1  # a run's scores lie one after the other; others get theirs below
        sees = old.sees.gather(1, parent[:, :, None].expand(-1, -1, old.sees.shape[2]))
        fresh, undecided = alive & ~already_run, alive
        if self.normalisation == "trie":
            settled = trie.leaves_below(node) == 1
            cursor = torch.where(settled, 0, cursor)
            fresh, undecided = fresh & ~settled, alive & ~settled
        live = Branches(score, node, cursor, sees)
        self.required += int(undecided.sum())
        if fresh.any():
            self._forward(live, fresh)
        self.live = live

    def _forward(self, live: Branches, fresh: torch.Tensor) -> None:
        """Feed fresh branches their whole run of tokens, and score the edges after each."""
        trie, device = self.trie, live.score.device
        row, branch = fresh.nonzero(as_tuple=True)
        node = live.node[row, branch]
        item = trie.leaf_item[trie.leaf_low[node]]  # any item below: they share the tokens up to here
        start = trie.item_offsets[item] + trie.depth[node] - 1
        fed = trie.run[node]  # (F,) tokens a branch
        source, step = ragged_arange(fed)
        token_row, token_branch = row[source], branch[source]
        tokens = trie.item_tokens[start[source] + step]
        positions = self.lengths[token_row] + trie.depth[node][source] - 1 + step
        queries = torch.bincount(token_row, minlength=len(self.lengths))
        _, column = ragged_arange(queries)
        width = int(queries.max())

        # What each query sees: its prompt, its branch's ancestors, and its own run so far.
        used = live.sees.shape[2]
        own = torch.full((len(self.lengths), width), -1, device=device)
        own[token_row, column] = token_branch
        run_so_far = (own[:, :, None] == own[:, None, :]).tril() & (own[:, :, None] >= 0)
        ancestors = torch.zeros((len(self.lengths), width, used), dtype=torch.bool, device=device)
        ancestors[token_row, column] = live.sees[token_row, token_branch]
        prompt = (torch.arange(self.longest, device=device) < self.lengths[:, None])[:, None].expand(-1, width, -1)
        visible = torch.cat([prompt, ancestors, run_so_far], dim=2)
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=device).masked_fill(~visible, NEVER)

        slots = self.longest + used + width
        self.store.reserve(slots)
        place = token_row * self.store.capacity + self.longest + used + column
        forest = TokenForest(token_row, column, len(self.lengths), width, mask[:, None], self.store, place, slots)
        hidden = self.model.hidden(tokens, positions, forest)
        self.forwarded += len(tokens)

        new_slot = torch.zeros((*live.node.shape, width), dtype=torch.bool, device=device)
        new_slot[token_row, token_branch, column] = True
        live.sees = torch.cat([live.sees, new_slot], dim=2)

        end = node  # where each run ends
        for taken in range(1, int(fed.max())):
            end = torch.where(fed > taken, trie.first_child[end], end)
        last = step == fed[source] - 1
        counts = torch.where(last, trie.child_count[end][source], 1)
        edge_source, offset = ragged_arange(counts)
        child = (trie.first_child[end][source][edge_source] + offset).clamp(max=trie.nodes - 1)
        following = trie.item_tokens[(start[source] + step + 1)[edge_source]]
        edge_tokens = torch.where(last[edge_source], trie.token[child], following)
        open_rows = counts > 1 if self.normalisation == "trie" else torch.ones_like(last)  # others are certain
        open_edges = open_rows[edge_source]
        scores = torch.zeros(len(edge_tokens), dtype=self.edge_scores.dtype, device=device)
        scores[open_edges] = edge_log_probs(
            self.model.head, hidden[open_rows], edge_tokens[open_edges], counts[open_rows], self.normalisation
        )
        first = len(self.edge_scores) + torch.cumsum(counts, 0) - counts
        live.cursor[row, branch] = first[torch.cumsum(fed, 0) - fed]
        self.edge_scores = torch.cat([self.edge_scores, scores])
