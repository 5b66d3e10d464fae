"""Cross-entropy over what the catalogue allows, with labels and with a teacher's whole distribution.

The model's distribution over items is a chain of choices at the nodes of the trie, and so is the teacher's: its mass
below a child, as a share of the mass below the node. At every node on a label's way the two are compared over all
children. For items of one token (`code: item`) that is the whole distribution over the catalogue; for longer codes the
root's children are compared in full, and what lies deeper along the label's way.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import log_softmax

from rere.catalog.index import CatalogIndex
from rere.catalog.trie import ROOT, TokenTrie
from rere.decoding.item_prior import node_mass
from rere.models.child_log_probs import child_log_probs
from rere.models.heads import Head, logits_of
from rere.models.ragged import ragged_arange
from rere.recommenders.base import Recommender
from rere.recommenders.item_model import item_log_probs
from rere.training.rows import IGNORED, Collator

NOWHERE = -1  # the node of a token that trains nothing


@dataclass(frozen=True)
class Teacher:
    """An item model whose log-probabilities, divided by the temperature and normalised anew, are a target."""

    model: Recommender
    temperature: float = 1.0

    def probabilities(self, histories: Sequence[Sequence[int]], items: int) -> torch.Tensor:
        """(P, items) float32."""
        log_probs = item_log_probs(self.model, histories, items).float()
        return (log_probs / self.temperature).softmax(1)


class CatalogueCollator(Collator):
    """A batch with the node that each label continues, and the teacher's opinion where a row asks for it.

    A row with the key `taught` asks: its value is the teacher's part of the loss, the label has the rest.
    """

    def __init__(self, pad: int, history_items: int, catalog: CatalogIndex, teacher: Teacher | None = None) -> None:
        super().__init__(pad, history_items)
        self.items, self.teacher = len(catalog.item_ids), teacher
        trie = catalog.trie
        parents, offsets = trie.parent[trie.item_nodes].tolist(), trie.item_offsets.tolist()
        self.parents = [parents[low:high] for low, high in itertools.pairwise(offsets)]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """As `Collator`, with node (B, T) int64.

        From a teacher, taught (B,), probabilities (M, I) for the M targets of the batch, and target (B, T): which of
        these a label belongs to.
        """
        batch = super().__call__(rows)
        node = torch.full_like(batch["labels"], NOWHERE)
        target = torch.full_like(batch["labels"], NOWHERE)
        histories: list[list[int]] = []
        for place, row in enumerate(rows):
            items, begin = row["items"], row["untrained"]
            ways = [self.parents[item] for item in items[begin:]]
            trained = batch["labels"][place] != IGNORED
            node[place, trained] = torch.tensor([parent for way in ways for parent in way])
            numbers = [len(histories) + n for n, way in enumerate(ways) for _ in way]
            target[place, trained] = torch.tensor(numbers)
            histories += [items[max(0, end - self.history_items) : end] for end in range(begin, len(items))]
        batch["node"] = node
        if self.teacher is not None and rows and "taught" in rows[0]:
            batch["target"] = target
            batch["taught"] = torch.tensor([row["taught"] for row in rows], dtype=torch.float32)
            batch["probabilities"] = self.teacher.probabilities(histories, self.items)
        return batch


@dataclass(frozen=True)
class _Lesson:
    """nodes, tokens, weight, number: (N,) node that each label continues, the label, the teacher's part, and the row of
    `mass` with the teacher's opinion; mass: (M, nodes)."""

    nodes: torch.Tensor
    tokens: torch.Tensor
    weight: torch.Tensor
    number: torch.Tensor
    mass: torch.Tensor | None


class CatalogueLoss:
    """The sum over trained tokens of the cross-entropy (nats), label's and teacher's parts together."""

    def __init__(self, trie: TokenTrie) -> None:
        self.trie = trie

    def __call__(
        self,
        head: Head,
        hidden: torch.Tensor,
        *,
        labels: torch.Tensor,
        node: torch.Tensor,
        target: torch.Tensor | None = None,
        taught: torch.Tensor | None = None,
        probabilities: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A scalar; see `CatalogueCollator` for the arguments.

        Args:
            hidden: (B, T, width) final hidden states; a label is continued from the state before it.
        """
        at = node[:, 1:] != NOWHERE
        states, nodes, tokens = hidden[:, :-1][at], node[:, 1:][at], labels[:, 1:][at]
        mass, number, weight = None, nodes, states.new_zeros(len(states))
        if probabilities is not None:
            assert taught is not None
            assert target is not None
            mass, number = node_mass(self.trie, probabilities), target[:, 1:][at]
            weight = taught[:, None].expand_as(at)[at]
        total = hidden.sum() * 0.0  # a process without rows has a gradient too
        for chosen, part in ((nodes == ROOT, self._at_root), (nodes != ROOT, self._below)):
            if chosen.any():
                own = _Lesson(nodes[chosen], tokens[chosen], weight[chosen], number[chosen], mass)
                total = total + part(head, states[chosen], own)
        return total

    def _at_root(self, head: Head, states: torch.Tensor, lesson: _Lesson) -> torch.Tensor:
        """All choose among the same children: one product with the head."""
        first, count = int(self.trie.first_child[ROOT]), int(self.trie.child_count[ROOT])
        children = self.trie.token[first : first + count]
        log_probs = log_softmax(_precise(logits_of(head, states, children)), 1)
        chosen = log_probs.gather(1, torch.searchsorted(children, lesson.tokens)[:, None])[:, 0]
        total = -((1 - lesson.weight) * chosen).sum()
        if lesson.mass is not None:
            share = lesson.mass[lesson.number, first : first + count]
            total = total - (lesson.weight * (share * log_probs).sum(1)).sum()
        return total

    def _below(self, head: Head, states: torch.Tensor, lesson: _Lesson) -> torch.Tensor:
        """Each has its own children."""
        trie = self.trie
        row, offset = ragged_arange(trie.child_count[lesson.nodes])
        child = trie.first_child[lesson.nodes][row] + offset
        edges = trie.token[child]
        log_probs = child_log_probs(head, states, edges, trie.child_count[lesson.nodes], "trie")
        wanted = (1 - lesson.weight)[row] * (edges == lesson.tokens[row])
        if lesson.mass is not None:
            above = lesson.mass[lesson.number, lesson.nodes].clamp(min=torch.finfo(lesson.mass.dtype).tiny)
            wanted = wanted + lesson.weight[row] * lesson.mass[lesson.number[row], child] / above[row]
        return -(wanted * log_probs).sum()


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
