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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import log_softmax

from rere.catalog.index import CatalogIndex
from rere.catalog.trie import ROOT, TokenTrie
from rere.decoding.item_prior import node_mass
from rere.models.child_log_probs import child_log_probs
from rere.models.heads import Head, logits_of, precise
from rere.models.ragged import ragged_arange, ragged_log_softmax
from rere.recommenders.base import Recommender
from rere.recommenders.item_model import item_log_probs
from rere.training.rows import IGNORED, Collator

TOP, MEMORY = 512, 1 << 30
TINY = 1e-30
NOWHERE = -1  # the node of a token that trains nothing


class Opinion(NamedTuple):
    """log_probs: (K,) float16 of the most probable items, by their indices items: (K,)."""

    log_probs: np.ndarray
    items: np.ndarray


class Teacher:
    """An item model whose distribution is a target.

    Of an answer the most probable items are kept, and the others share what is left evenly. It is asked once per
    history while memory lasts: an epoch asks for the same histories as the one before, and asking takes longer than the
    training itself. Remembered or asked again, an answer is the same.

    Args:
        top: items kept; memory: bytes for what is kept.
    """

    def __init__(self, model: Recommender, top: int = TOP, memory: int = MEMORY) -> None:
        self.model, self.top, self.memory = model, top, memory
        self.known: dict[tuple[int, ...], Opinion] = {}

    def log_probs(self, histories: Sequence[Sequence[int]], items: int) -> torch.Tensor:
        """(P, items) float32, normalised."""
        keys = [tuple(history) for history in histories]
        new = list(dict.fromkeys(key for key in keys if key not in self.known))
        told = dict(zip(new, self._asked(new, items), strict=True)) if new else {}
        opinions = [told[key] if key in told else self.known[key] for key in keys]
        for key, opinion in told.items():
            if (len(self.known) + 1) * (opinion.log_probs.nbytes + opinion.items.nbytes) <= self.memory:
                self.known[key] = opinion
        leading = torch.stack([torch.from_numpy(opinion.log_probs) for opinion in opinions]).float()
        rest = (1 - leading.exp().sum(1, keepdim=True)).clamp(min=TINY) / max(1, items - leading.shape[1])
        where = torch.stack([torch.from_numpy(opinion.items) for opinion in opinions]).long()
        return rest.log().repeat(1, items).scatter(1, where, leading).log_softmax(1)

    def _asked(self, histories: Sequence[Sequence[int]], items: int) -> list[Opinion]:
        log_probs = item_log_probs(self.model, histories, items).log_softmax(1)
        leading, where = log_probs.topk(min(self.top, items), dim=1, sorted=False)
        kind = np.int16 if items <= np.iinfo(np.int16).max else np.int32
        rows = zip(leading.numpy().astype(np.float16), where.numpy().astype(kind), strict=True)
        return [Opinion(own.copy(), named.copy()) for own, named in rows]


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

        From a teacher, taught (B,), log_probs (M, I) for the M targets of the batch, and target (B, T): which of these
        a label belongs to.
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
            batch["log_probs"] = self.teacher.log_probs(histories, self.items)
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
                own = _Lesson(nodes[chosen], tokens[chosen], weight[chosen], number[chosen], mass)
                total = total + part(head, states[chosen], own)
        return total

    def _at_root(self, head: Head, states: torch.Tensor, lesson: _Lesson) -> torch.Tensor:
        """All choose among the same children: one product with the head."""
        first, count = int(self.trie.first_child[ROOT]), int(self.trie.child_count[ROOT])
        children = self.trie.token[first : first + count]
        log_probs = log_softmax(precise(logits_of(head, states, children)), 1)
        chosen = log_probs.gather(1, torch.searchsorted(children, lesson.tokens)[:, None])[:, 0]
        total = -((1 - lesson.weight) * chosen).sum()
        if lesson.mass is not None:
            share = (_log(lesson.mass[lesson.number, first : first + count]) / self.temperature).softmax(1)
            opinion = (share * log_softmax(log_probs / self.temperature, 1)).sum(1)
            total = total - (lesson.weight * opinion).sum()
        return total

    def _below(self, head: Head, states: torch.Tensor, lesson: _Lesson) -> torch.Tensor:
        """Each has its own children."""
        trie = self.trie
        row, offset = ragged_arange(trie.child_count[lesson.nodes])
        child = trie.first_child[lesson.nodes][row] + offset
        edges = trie.token[child]
        log_probs = child_log_probs(head, states, edges, trie.child_count[lesson.nodes], "trie")
        total = -((1 - lesson.weight)[row] * (edges == lesson.tokens[row]) * log_probs).sum()
        if lesson.mass is not None:
            told = _log(lesson.mass[lesson.number[row], child])
            share = ragged_log_softmax(told / self.temperature, row, len(states)).exp()
            opinion = share * ragged_log_softmax(log_probs / self.temperature, row, len(states))
            total = total - (lesson.weight[row] * opinion).sum()
        return total


def _log(mass: torch.Tensor) -> torch.Tensor:
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
