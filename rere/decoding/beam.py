"""Constrained beam search as tree attention: the G best items of each prompt, all distinct, all valid.

Same items, order and scores as stock `generate` with num_beams = G, length_penalty = 0 and a correct prefix
constraint, at a fraction of the work (see `tree_decoder`). A branch with one item below keeps competing, depth by
depth, with the scores that it would have had, until only such branches are left: the result is that of the plain
search.

`normalisation = vocab` is the paper's score; `trie` equals `generate` with renormalize_logits=True.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import SearchSettings
from rere.decoding.boost import Boost
from rere.decoding.exclusion import Exclusions
from rere.decoding.item_prior import ItemPrior
from rere.errors import RereError
from rere.models.prefix_cache import PrefixCache
from rere.models.ragged import row_starts
from rere.models.tree_attention import TreeModel
from rere.models.tree_decoder import NEG_INF, TreeDecoder
from rere.models.trunks import Prompts

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class BeamResult:
    """items (P, K) int64 item indices, best first, -1 where the catalogue is exhausted;
    scores (P, K) float32 sums of log-probabilities (nats), -inf there; forwarded, required: see `TreeDecoder`."""

    items: Int[Tensor, "P K"]
    scores: Float[Tensor, "P K"]
    forwarded: int
    required: int


@torch.no_grad()
def beam_search(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Prompts,
    settings: SearchSettings,
    *,
    item_prior: ItemPrior | None = None,
    boost: Boost | None = None,
    exclusions: Exclusions | None = None,
    prefixes: PrefixCache | None = None,
) -> BeamResult:
    """Search the trie for the K = `settings.beams` best items of each prompt.

    Args:
        prompts: P token sequences, of any lengths, each at least one long; or branches of trunks.
        item_prior: another model's probabilities of the items, mixed into every step's score.
        boost: multiplies the model's own probabilities of some items, before the other model's are mixed in.
        exclusions: items that must not be returned.
        prefixes: see `TreeDecoder`.

    Raises:
        RereError: the model's scores are not numbers, or a prompt is too long for its context.
    """
    search = BeamSearch(
        model,
        trie,
        prompts,
        settings,
        item_prior=item_prior,
        boost=boost,
        exclusions=exclusions,
        prefixes=prefixes,
    )
    while search.step():
        pass
    return search.result()


class BeamSearch:
    """The state of one search; call `step` until it returns False."""

    def __init__(
        self,
        model: TreeModel,
        trie: TokenTrie,
        prompts: Prompts,
        settings: SearchSettings,
        *,
        item_prior: ItemPrior | None = None,
        boost: Boost | None = None,
        exclusions: Exclusions | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.item_prior, self.boost, self.exclusions, self.width = item_prior, boost, exclusions, settings.beams
        self.tree = TreeDecoder(model, trie, prompts, settings, prefixes)
        self.found_score = torch.full((len(prompts), self.width), NEG_INF, device=model.device)
        self.found_item = torch.full((len(prompts), self.width), -1, device=model.device)

    def step(self) -> bool:
        """Extend every prompt's branches by one token; False when no branch can improve any result."""
        tree, trie = self.tree, self.tree.trie
        if tree.depth and self._settle():
            return False
        if trie.max_length == 1:
            self._rank_all()
            return False
        edges, (prompts, beams) = tree.edges(), tree.live.node.shape
        score = edges.log_prob
        if self.item_prior is not None or self.boost is not None or self.exclusions is not None:
            node, row = edges.nodes(), edges.source // beams
        if self.boost is not None:
            score = score + self.boost.along(node, trie.parent[node])
        if self.item_prior is not None:
            score = self.item_prior.mixed(score, row, node, trie.parent[node])
        score = score + tree.live.score.view(-1)[edges.source]
        if self.exclusions is not None:
            score = score.masked_fill(self.exclusions.closes(trie, row, node), NEG_INF)

        # The best 2K candidates of each prompt: K may finish and K are left to go on.
        last = score.shape[0] - 1
        begin, most = torch.zeros((), dtype=torch.int64, device=score.device), score.shape[0]
        if prompts > 1:
            counts = edges.counts.view(prompts, beams).sum(1)
            begin, most = row_starts(counts)[:, None], int(counts.max())
            edge = torch.arange(most, device=score.device) + begin
            absent = edge >= begin + counts[:, None]
            score = score[edge.clamp(max=last)].masked_fill(absent, NEG_INF)
        best, index = score.view(prompts, most).topk(min(2 * self.width, most), dim=1)
        node = edges.nodes((begin + index).clamp(max=last))  # (P, 2K)
        leaf = trie.child_count[node] == 0
        finished = best.masked_fill(~leaf, NEG_INF)[:, : self.width]
        if (finished > self.found_score[:, -1:]).any():
            self._finish(finished, node[:, : self.width])
        score, order = best.masked_fill(leaf, NEG_INF).topk(min(self.width, best.shape[1]), dim=1)
        # Scores only fall: a branch that can't beat the worst of K results ends, and so do all that it could displace.
        score = score.masked_fill(score <= self.found_score[:, -1:], NEG_INF)
        if not (score > NEG_INF).any():
            return False
        tree.advance(score, node.gather(1, order))
        return True

    def _rank_all(self) -> None:
        """Every item is one token: the root's edges are the items, and the prompts' forward has scored them all."""
        tree, trie, (prompts, items) = self.tree, self.tree.trie, (len(self.found_item), self.tree.trie.items)
        score = tree.edge_scores[1:]
        node = torch.arange(1, trie.nodes, device=score.device)  # the root's children, in the order of its edges
        if self.item_prior is not None or self.boost is not None or self.exclusions is not None:
            row = torch.arange(prompts, device=score.device).repeat_interleave(items)
            every = node.repeat(prompts)
        if self.boost is not None:
            score = score + self.boost.along(every, torch.zeros_like(every))
        if self.item_prior is not None:
            score = self.item_prior.mixed(score, row, every, torch.zeros_like(every))
        if self.exclusions is not None:
            score = score.masked_fill(self.exclusions.closes(trie, row, every), NEG_INF)
        best, index = score.view(prompts, items).topk(min(self.width, items), dim=1)
        self._finish(best.float(), node[index])

    def result(self) -> BeamResult:
        """The items found; raises RereError if none was found for a prompt that has items to find."""
        nothing = self.found_item[:, 0] < 0
        if self.exclusions is not None:
            nothing = nothing & (self.exclusions.left() > 0)
        if nothing.any():  # this happens only if scores are NaN
            raise RereError(
                "finite scores",
                "only NaN for some prompt",
                "the weights have diverged: lower the learning rate",
            )
        score = self.found_score
        if self.boost is not None:
            share = 1.0 if self.item_prior is None else 1 - self.item_prior.weight
            score = score + share * self.boost.start
        return BeamResult(self.found_item, score, self.tree.forwarded, self.tree.required)

    def _settle(self) -> bool:
        """Finish the prompts whose live branches all have one item below: these can no longer displace one another.

        Returns:
            Whether the search has ended.
        """
        live, trie = self.tree.live, self.tree.trie
        alive = live.score > NEG_INF
        over = (~alive | (trie.leaves_below(live.node) == 1)).all(1, keepdim=True)
        if not over.any():
            return False
        rest = self.tree.rest()  # to which a boost adds nothing: it is the same all the way down to a single item
        if self.item_prior is not None:  # the prior's log-share of a single-item subtree is 0
            rest = rest * (1 - self.item_prior.weight)
        score = (live.score + rest).masked_fill(~over, NEG_INF)
        self.tree.count_rest(live.node[score > self.found_score[:, -1:]])
        self._finish(score, live.node)
        live.score = live.score.masked_fill(over, NEG_INF)
        return bool(over.all())

    def _finish(self, score: Float[Tensor, "P found"], node: Int[Tensor, "P found"]) -> None:
        """Keep the K best finished items.

        Args:
            score: (P, any), -inf for none.
            node: (P, any), each with one item below where the score is finite.
        """
        item = torch.where(score > NEG_INF, self.tree.trie.leaf_item[self.tree.trie.leaf_low[node]], -1)
        merged = torch.cat([self.found_score, score], 1)
        self.found_score, order = merged.topk(self.width, dim=1)
        self.found_item = torch.cat([self.found_item, item], 1).gather(1, order)
