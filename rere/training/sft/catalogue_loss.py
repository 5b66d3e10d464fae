"""Cross-entropy over what the catalogue allows, with labels and with a teacher's whole distribution.

The model's distribution over items is a chain of choices at the nodes of the trie, and so is the teacher's: its mass
below a child, as a share of the mass below the node. At every node on a label's path the two are compared over all
children. For items of one token (`code: item`) that is the whole distribution over the catalogue; for longer codes the
root's children are compared in full, and what lies deeper along the label's path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import log_softmax

from rere.catalog.index import CatalogIndex
from rere.catalog.trie import ROOT, TokenTrie
from rere.decoding.item_prior import node_mass
from rere.models.child_log_probs import child_log_probs
from rere.models.heads import Head, logits_of, precise
from rere.models.ragged import ragged_arange, ragged_log_softmax
from rere.training.instructions import HeadDraw
from rere.training.rows import ALIGNED, FOLD, IGNORED, Collator
from rere.training.sft.teacher import Teacher

NOWHERE = -1  # the node of a token that trains nothing


class CatalogueCollator(Collator):
    """A batch with the node that each label continues, and the teacher's distribution where a row asks for it.

    A row with the key `taught` asks: its value is the teacher's part of the loss, the label has the rest. A
    cross-fitted teacher is told the fold of the row's user by the key `fold`.
    """

    def __init__(
        self,
        pad: int,
        history_items: int,
        catalog: CatalogIndex,
        teacher: Teacher | None = None,
        draw: HeadDraw | None = None,
    ) -> None:
        super().__init__(pad, history_items, draw)
        self.teacher, self.item_offsets = teacher, catalog.trie.item_offsets
        self.parents = catalog.trie.parent[catalog.trie.item_nodes]  # of each item's tokens, one item after another

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """As `Collator`, with node (B, T) int64.

        From a teacher, taught (B,), log_probs (M, I) for the M targets of the batch, and target (B, T): which of these
        a label belongs to.
        """
        batch = super().__call__(rows)
        items = torch.tensor([item for row in rows for item in row["items"][row["untrained"] :]], dtype=torch.int64)
        target, token = ragged_arange(self.item_offsets[items + 1] - self.item_offsets[items])
        trained = batch["labels"] != IGNORED
        if ALIGNED in batch:  # such rows name no next item
            trained &= batch[ALIGNED][:, None] == 0
        batch["node"] = torch.full_like(batch["labels"], NOWHERE)
        batch["node"][trained] = self.parents[self.item_offsets[items][target] + token]
        if self.teacher is not None and len(items) and "taught" in rows[0]:
            batch["target"] = torch.full_like(batch["labels"], NOWHERE)
            batch["target"][trained] = target
            batch["taught"] = torch.tensor([row["taught"] for row in rows], dtype=torch.float32)
            histories = [
                row["items"][max(0, end - self.history_items) : end]
                for row in rows
                for end in range(row["untrained"], len(row["items"]))
            ]
            folds = None
            if FOLD in rows[0]:
                folds = [row[FOLD] for row in rows for _ in range(row["untrained"], len(row["items"]))]
            batch["log_probs"] = self.teacher.log_probs(histories, folds)
        return batch


@dataclass(frozen=True)
class _Choices:
    """nodes, tokens, weight, number: (N,) node that each label continues, the label, the teacher's part, and the row of
    `mass` with the teacher's distribution; mass: (M, nodes)."""

    nodes: torch.Tensor
    tokens: torch.Tensor
    weight: torch.Tensor
    number: torch.Tensor
    mass: torch.Tensor | None


class CatalogueLoss:
    """The sum over trained tokens of the cross-entropy (nats), label's and teacher's parts together.

    Args:
        temperature: of the teacher's part: at every node the teacher's shares and the model's are both raised to
            1 / temperature and normalised (Hinton et al., arXiv 1503.02531). Below 1 what leads the ranking counts for
            more, and the model's own probabilities, without a temperature, remain an estimate of the teacher's.
    """

    def __init__(self, trie: TokenTrie, temperature: float = 1.0) -> None:
        self.trie, self.temperature = trie, temperature

    def __call__(
        self,
        head: Head,
        hidden: torch.Tensor,
        *,
        labels: torch.Tensor,
        node: torch.Tensor,
        target: torch.Tensor | None = None,
        taught: torch.Tensor | None = None,
        log_probs: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A scalar; see `CatalogueCollator` for the arguments.

        Args:
            hidden: (B, T, width) final hidden states; a label is continued from the state before it.
        """
        at = node[:, 1:] != NOWHERE
        states, nodes, tokens = hidden[:, :-1][at], node[:, 1:][at], labels[:, 1:][at]
        mass, number, weight = None, nodes, states.new_zeros(len(states))
        if log_probs is not None:
            assert taught is not None
            assert target is not None
            mass, number = node_mass(self.trie, log_probs.exp()), target[:, 1:][at]
            weight = taught[:, None].expand_as(at)[at]
        total = hidden.sum() * 0.0  # a process without rows has a gradient too
        for chosen, part in ((nodes == ROOT, self._at_root), (nodes != ROOT, self._below)):
            if chosen.any():
                own = _Choices(nodes[chosen], tokens[chosen], weight[chosen], number[chosen], mass)
                total = total + part(head, states[chosen], own)
        return total

    def _at_root(self, head: Head, states: torch.Tensor, choices: _Choices) -> torch.Tensor:
        """All choose among the same children: one product with the head."""
        first, count = int(self.trie.first_child[ROOT]), int(self.trie.child_count[ROOT])
        children = self.trie.token[first : first + count]
        log_probs = log_softmax(precise(logits_of(head, states, children)), 1)
        chosen = log_probs.gather(1, torch.searchsorted(children, choices.tokens)[:, None])[:, 0]
        total = -((1 - choices.weight) * chosen).sum()
        if choices.mass is not None:
            share = (_log(choices.mass[choices.number, first : first + count]) / self.temperature).softmax(1)
            by_teacher = (share * log_softmax(log_probs / self.temperature, 1)).sum(1)
            total = total - (choices.weight * by_teacher).sum()
        return total

    def _below(self, head: Head, states: torch.Tensor, choices: _Choices) -> torch.Tensor:
        """Each has its own children."""
        trie = self.trie
        row, offset = ragged_arange(trie.child_count[choices.nodes])
        child = trie.first_child[choices.nodes][row] + offset
        edges = trie.token[child]
        log_probs = child_log_probs(head, states, edges, trie.child_count[choices.nodes], "trie")
        total = -((1 - choices.weight)[row] * (edges == choices.tokens[row]) * log_probs).sum()
        if choices.mass is not None:
            told = _log(choices.mass[choices.number[row], child])
            share = ragged_log_softmax(told / self.temperature, row, len(states)).exp()
            by_teacher = share * ragged_log_softmax(log_probs / self.temperature, row, len(states))
            total = total - (choices.weight[row] * by_teacher).sum()
        return total


def _log(mass: torch.Tensor) -> torch.Tensor:
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
