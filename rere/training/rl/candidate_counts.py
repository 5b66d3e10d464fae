"""What was generated, counted: candidates that are no item, that repeat, and that differ over all processes."""

from __future__ import annotations

from collections.abc import Hashable

from rere.runtime import distributed
from rere.training.loop import Tally
from rere.training.rl.losses.base import Counts
from rere.training.rl.rollout import Rollout


def over_processes(counts: Counts, generated: frozenset[Hashable], tally: Tally) -> Counts:
    """Sum counts over ranks and note the distinct candidates; collective, so every rank must call it."""
    every = distributed.gathered((counts, generated))
    if distributed.is_main():
        tally["diversity"] += float(len(frozenset().union(*(own for _, own in every))))
    return sum((own for own, _ in every), Counts())


def generated_keys(found: Rollout) -> frozenset[Hashable]:
    """Distinct generated candidates, before the ground truth was added, as keys that don't depend on the rank."""
    indices = found.candidates[found.candidates >= 0].unique().tolist()
    if found.items is found.candidates:
        return frozenset(indices)
    # Freely generated candidates get new indices in each rollout, so their tokens are the key.
    return frozenset(tuple(found.trie.item(index)) for index in indices)


def count_candidates(tally: Tally, found: Rollout) -> None:
    """Count the generated candidates, before the ground truth was added: all, invalid, repeated."""
    made = found.candidates >= 0
    same = (found.candidates[:, :, None] == found.candidates[:, None, :]).tril(-1).any(2)
    tally["candidates"] += float(made.sum())
    tally["invalid"] += float((made & (found.items < 0)).sum())
    tally["duplicate"] += float((made & same).sum())
