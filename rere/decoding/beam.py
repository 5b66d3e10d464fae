"""Constrained beam search as tree attention: the G best items of each prompt, all distinct, all valid.

Same items, order and scores as stock `generate` with num_beams = G, length_penalty = 0 and a correct prefix
constraint, at a fraction of the work (see `tree_decoder`). A settled chain keeps competing, depth by depth,
with the scores it would have had, so the result is that of the plain search.

`normalisation = vocab` is the paper's score; `trie` equals `generate` with renormalize_logits=True.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rere.catalog.trie import TokenTrie
from rere.config import Normalisation
from rere.decoding.exclusion import Exclusions
from rere.decoding.guide import Guide
from rere.decoding.prefix_cache import PrefixCache
from rere.decoding.tree_attention import TreeModel
from rere.decoding.tree_decoder import NEVER, TreeDecoder
from rere.errors import RereError


@dataclass(frozen=True)
class BeamResult:
    """items (P, K) int64 item indices, best first, -1 where the catalogue is exhausted;
    scores (P, K) float32 sums of log-probabilities (nats), -inf there; forwarded, required: see `TreeDecoder`."""

    items: torch.Tensor
    scores: torch.Tensor
    forwarded: int
    required: int


@torch.no_grad()
def beam_search(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    beams: int,
    normalisation: Normalisation,
    guide: Guide | None = None,
    exclusions: Exclusions | None = None,
    prefixes: PrefixCache | None = None,
) -> BeamResult:
    """Search the trie for every prompt's best items.

    Args:
        prompts: P token sequences, of any lengths, each at least one long.
        beams: K, at least 1; also the number of items returned.
        guide: what another model says of the items, mixed into every step's score.
        exclusions: items that are not to be found.
        prefixes: see `TreeDecoder`.

    Raises:
        RereError: the model's scores are not numbers.
    """
    search = BeamSearch(model, trie, prompts, beams, normalisation, guide, exclusions, prefixes)
    while search.step():
        pass
    return search.result()


class BeamSearch:
    """The state of one search; `step` until it returns False."""

    def __init__(
        self,
        model: TreeModel,
        trie: TokenTrie,
        prompts: Sequence[Sequence[int]],
        beams: int,
        normalisation: Normalisation,
        guide: Guide | None = None,
        exclusions: Exclusions | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.guide, self.exclusions = guide, exclusions
        self.tree, self.width = TreeDecoder(model, trie, prompts, beams, normalisation, prefixes), beams
        self.found_score = torch.full((len(prompts), beams), NEVER, device=model.device)
        self.found_item = torch.full((len(prompts), beams), -1, device=model.device)

    def step(self) -> bool:
        """Take every prompt one token deeper; False when no beam can improve any result."""
        row, beam, node, score = self.tree.edges()
        if self.guide is not None:
            score = self.guide.mixed(score, row, node, self.tree.trie.parent[node])
        score = score + self.tree.live.score[row, beam]
        if self.exclusions is not None:
            score = score.masked_fill(self.exclusions.shuts(self.tree.trie, row, node), NEVER)

        # The best 2K candidates of each prompt: K may finish and K are left to go on.
        edges = torch.bincount(row, minlength=self.found_item.shape[0])
        first = torch.cumsum(edges, 0).sub_(edges)
        grid = score.new_full((edges.shape[0], int(edges.max())), NEVER)
        grid[row, torch.arange(row.shape[0], device=row.device).sub_(first[row])] = score
        best, where = grid.topk(min(2 * self.width, grid.shape[1]), dim=1)
        picked = where.add_(first[:, None]).clamp_(max=node.shape[0] - 1)
        node, beam = node[picked], beam[picked]  # (P, 2K)
        leaf = self.tree.trie.child_count[node] == 0
        if leaf[:, : self.width].any():
            self._finish(best[:, : self.width], node[:, : self.width], leaf[:, : self.width])
        score, order = best.masked_fill(leaf, NEVER).topk(min(self.width, best.shape[1]), dim=1)
        # Scores only fall: a beam that can't beat the worst of K results ends, and so does all that it could displace.
        score.masked_fill_(score <= self.found_score[:, -1:], NEVER)
        if not (score > NEVER).any():
            return False
        self.tree.advance(score, node.gather(1, order), beam.gather(1, order))
        return True

    def result(self) -> BeamResult:
        """What has been found; raises RereError where a prompt with items to find has none."""
        nothing = self.found_item[:, 0] < 0
        if self.exclusions is not None:
            nothing = nothing & (self.exclusions.left() > 0)
        if nothing.any():  # only NaN scores find none
            raise RereError(
                "finite scores",
                "no number at all for some prompt",
                "the weights have diverged: lower the learning rate",
            )
        return BeamResult(self.found_item, self.found_score, self.tree.forwarded, self.tree.required)

    def _finish(self, score: torch.Tensor, node: torch.Tensor, leaf: torch.Tensor) -> None:
        """Keep the K best finished items."""
        score = torch.where(leaf, score, NEVER)
        item = torch.where(score > NEVER, self.tree.trie.leaf_item[self.tree.trie.leaf_low[node]], -1)
        merged = torch.cat([self.found_score, score], 1)
        self.found_score, order = merged.topk(self.width, dim=1)
        self.found_item = torch.cat([self.found_item, item], 1).gather(1, order)
