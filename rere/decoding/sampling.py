"""Sampling items from the model's distribution over the catalogue, through the same token tree.

At each node the next token is drawn among the node's children, with the model's probabilities renormalised over
them: what stock `generate` draws under a prefix constraint. Draws that share a prefix share its computation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from rere.catalog.trie import TokenTrie
from rere.config.decoding import SearchSettings
from rere.models.ragged import ragged_arange
from rere.models.tree_attention import TreeModel
from rere.models.tree_decoder import NEG_INF, TreeDecoder
from rere.models.trunks import Prompts

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


TargetCopies = Literal["all", "one"]


@dataclass(frozen=True)
class Sample:
    """items (P, G) int64 item indices, in random order, repeats possible; forwarded: tokens run."""

    items: Int[Tensor, "P G"]
    forwarded: int


@torch.no_grad()
def sample_items(
    model: TreeModel,
    trie: TokenTrie,
    prompts: Prompts,
    draws: int,
    generator: torch.Generator,
) -> Sample:
    """Draw items independently, with replacement.

    Args:
        prompts: P token sequences, or branches of trunks.
        draws: G, items per prompt.
        generator: a CPU generator; the same state gives the same draws on any device.
    """
    tree = TreeDecoder(model, trie, prompts, SearchSettings(beams=draws, normalisation="trie"))
    count, device = len(prompts), model.device
    waiting = torch.zeros((count, draws), dtype=torch.int64, device=device)  # number of draws at each live branch
    waiting[:, 0] = draws
    done: list[tuple[torch.Tensor, torch.Tensor]] = []  # (prompt, item), one entry per draw
    while True:
        edges, branches = tree.edges(), tree.live.node.shape[1]
        times = _draw(edges.source, waiting.view(-1)[edges.source], edges.log_prob, generator)
        taken = times.nonzero()[:, 0]
        node, times = edges.nodes(taken), times[taken]
        row = edges.source[taken] // branches
        settled = trie.leaves_below(node) == 1
        items = trie.leaf_item[trie.leaf_low[node[settled]]]
        done.append((row[settled].repeat_interleave(times[settled]), items.repeat_interleave(times[settled])))
        if settled.all():
            break
        unsettled = ~settled
        row, node, times = row[unsettled], node[unsettled], times[unsettled]
        _, slot = ragged_arange(torch.bincount(row, minlength=count))
        grid = (count, int(slot.max()) + 1)
        score = torch.full(grid, NEG_INF, device=device)
        score[row, slot] = 0.0  # alive
        next_node = torch.zeros(grid, dtype=torch.int64, device=device)
        next_node[row, slot] = node
        waiting = torch.zeros(grid, dtype=torch.int64, device=device)
        waiting[row, slot] = times
        tree.advance(score, next_node)
    rows = torch.cat([prompt for prompt, _ in done])
    items = torch.cat([item for _, item in done])
    items = items[torch.argsort(rows, stable=True)].view(count, draws)
    shuffle = torch.rand((count, draws), generator=generator).argsort(1).to(device)
    return Sample(items.gather(1, shuffle), tree.forwarded)


def _draw(
    branch: Int[Tensor, " E"], waiting: Int[Tensor, " E"], log_prob: Float[Tensor, " E"], generator: torch.Generator
) -> Int[Tensor, " E"]:
    """(E,) how often each edge is drawn; each branch has `waiting` draws among its edges, which are contiguous in E."""
    mass = torch.cumsum(log_prob.double().exp(), 0)
    starts = torch.cat([branch.new_ones(1, dtype=torch.bool), branch[1:] != branch[:-1]]).nonzero()[:, 0]
    ends = torch.cat([starts[1:], starts.new_tensor([len(branch)])]) - 1
    below = torch.where(starts > 0, mass[starts - 1], 0.0)
    draws = waiting[starts]
    which = torch.repeat_interleave(torch.arange(len(starts), device=branch.device), draws)
    uniform = torch.rand(int(draws.sum()), generator=generator, dtype=torch.float64).to(branch.device)
    edge = torch.searchsorted(mass, below[which] + uniform * (mass[ends] - below)[which], right=True)
    return torch.bincount(edge.clamp(min=starts[which], max=ends[which]), minlength=len(branch))


def dynamic_group(
    drawn: Int[Tensor, "P draws"], targets: Int[Tensor, " P"], group: int, target_copies: TargetCopies = "all"
) -> Int[Tensor, "P G"]:
    """ReRe's dynamic sampling: draw more items than needed; keep the target, then distinct negatives, then repeats.

    Args:
        drawn: item indices, at least `group` per prompt.
        target_copies: which draws of the target come first; one: its others are repeats like those of negatives.

    Returns:
        (P, group) item indices.
    """
    earlier = (drawn[:, :, None] == drawn[:, None, :]).tril(-1).any(2)  # a repeat of an earlier draw
    is_target = drawn == targets[:, None]
    first = is_target if target_copies == "all" else is_target & ~earlier
    rank = torch.where(first, 0, torch.where(earlier, 2, 1))
    return drawn.gather(1, torch.argsort(rank, dim=1, stable=True)[:, :group])
