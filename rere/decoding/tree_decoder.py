"""Decoding over the trie as tree attention: what beam search and sampling share.

- a prompt is prefilled once; its live branches are further queries of the same row, so keys and values are
  never repeated, reordered or copied;
- the head is evaluated only for branches that fork and for forced tokens whose probability counts;
- tokens that leave no choice are run together: a branch that enters a way without forks gets all of it scored in
  one forward (under `vocab`), and one whose item is settled needs no more forward at all under `trie`.

Axes: P prompts, K live branches a prompt, E edges, T new tokens, S slots of a prompt so far.
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
    """Live branches. score, node, cursor: (P, K); a dead branch's score is -inf. `cursor` points at the
    log-probability of its first edge. mask: (P, K, S) additive, 0 for the slots that its next token may attend to."""

    score: torch.Tensor
    node: torch.Tensor
    cursor: torch.Tensor
    mask: torch.Tensor


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
        scores = self._scored(hidden, torch.full((count,), ROOT, device=device))
        self.edge_scores = torch.cat([scores.new_zeros(1), scores])  # entry 0: a certain edge
        slots = torch.arange(self.longest, device=device)
        prompt = torch.zeros((count, 1, self.longest), dtype=self.model.dtype, device=device)
        score = torch.full((count, self.width), NEVER, device=device)
        score[:, 0] = 0.0
        cursor = torch.zeros((count, self.width), dtype=torch.int64, device=device)
        cursor[:, 0] = 1 + torch.arange(count, device=device) * self.trie.child_count[ROOT]
        return Branches(
            score=score,
            node=torch.zeros_like(cursor),
            cursor=cursor,
            mask=prompt.masked_fill_(slots >= self.lengths[:, None, None], NEVER).expand(-1, self.width, -1),
        )

    def edges(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Every edge that leaves a live branch, prompt by prompt: prompt, branch, child node, log-probability; (E,)."""
        live, trie = self.live, self.trie
        row, branch = (live.score > NEVER).nonzero(as_tuple=True)
        node = live.node[row, branch]
        source, offset = ragged_arange(trie.child_count[node])
        log_prob = self.edge_scores[live.cursor[row, branch][source].add_(offset)]
        return row[source], branch[source], trie.first_child[node][source].add_(offset), log_prob

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
        mask = old.mask.gather(1, parent[:, :, None].expand(-1, -1, old.mask.shape[2]))
        fresh, undecided = alive & ~already_run, alive
        if self.normalisation == "trie":
            settled = trie.leaves_below(node) == 1
            cursor = torch.where(settled, 0, cursor)
            fresh, undecided = fresh & ~settled, alive & ~settled
        live = Branches(score, node, cursor, mask)
        self.required += int(undecided.sum())
        if fresh.any():
            self._forward(live, fresh)
        self.live = live

    def _forward(self, live: Branches, fresh: torch.Tensor) -> None:
        """Feed fresh branches their whole run of tokens, and score the edges after each."""
        trie, count = self.trie, self.lengths.shape[0]
        row, branch = fresh.nonzero(as_tuple=True)
        run = live.node[row, branch][:, None]  # (F, longest run) the nodes of each branch's run
        fed = trie.run[run[:, 0]]
        longest_run = int(fed.max())
        for _ in range(1, longest_run):
            run = torch.cat([run, trie.first_child[run[:, -1:]].clamp(max=trie.nodes - 1)], 1)
        taken = torch.arange(longest_run, device=run.device) < fed[:, None]
        source, step = taken.nonzero(as_tuple=True)
        node, row, branch = run[taken], row[source], branch[source]  # (T,) by prompt, branch and depth
        queries = torch.bincount(row, minlength=count)
        column = torch.arange(row.shape[0], device=row.device).sub_((torch.cumsum(queries, 0).sub_(queries))[row])
        width, used = int(queries.max()), live.mask.shape[2]

        # Each query sees what its branch saw, and its own run so far. The first token is everybody's, padding's too.
        mask = live.mask.new_full((count, width, used + width), NEVER)
        mask[:, :, 0] = 0.0
        mask[row, column, :used] = live.mask[row, branch]
        new_mask = live.mask.new_full((*live.node.shape, width), NEVER)
        new_mask[row, branch, column] = 0.0
        own = row.new_full((count, width), -1)
        own[row, column] = branch
        run_so_far = (own[:, :, None] == own[:, None, :]).tril_() & (own >= 0)[:, :, None]
        mask[:, :, used:].masked_fill_(run_so_far, 0.0)
        live.mask = torch.cat([live.mask, new_mask], 2)

        self.store.reserve(used + width)
        place = (row * self.store.capacity).add_(column).add_(used)
        forest = TokenForest(row, column, count, width, mask[:, None], self.store, place, used + width)
        positions = self.lengths[row].add_(trie.depth[node]).sub_(1)
        hidden = self.model.hidden(trie.token[node], positions, forest)
        self.forwarded += node.shape[0]

        counts = trie.child_count[node]
        first = torch.cumsum(counts, 0).sub_(counts)
        live.cursor[row[step == 0], branch[step == 0]] = first[step == 0] + self.edge_scores.shape[0]
        if self.normalisation == "trie":  # an only child is certain
            scores, several = self.edge_scores.new_zeros(int(counts.sum())), counts > 1
            scores[torch.repeat_interleave(several, counts)] = self._scored(hidden[several], node[several])
        else:
            scores = self._scored(hidden, node)
        self.edge_scores = torch.cat([self.edge_scores, scores])

    def _scored(self, hidden: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """(E,) log-probabilities of all edges that leave the nodes (R,), given the hidden states (R, width) there."""
        counts = self.trie.child_count[node]
        source, offset = ragged_arange(counts)
        tokens = self.trie.token[self.trie.first_child[node][source].add_(offset)]
        return edge_log_probs(self.model.head, hidden, tokens, counts, self.normalisation)
