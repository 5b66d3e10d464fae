"""Synthetic histories for a teacher to label: real ones with items left out, in another order, or two mixed.

A model can memorise the label of a real history, and a teacher fitted on the same rows already has. Synthetic histories
prevent both. Some of their items are replaced by new ones, those that nobody took in the training period: users will
name them, and no real history shows the model what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 3  # items of a row: fewer teach almost nothing


@dataclass(frozen=True)
class NewItems:
    """Items of the catalogue that nobody took in the training period, and how often they are wanted afterwards.

    items: (N,) item indices
    share: of the validation rows' targets
    """

    items: np.ndarray
    share: float

    @classmethod
    def of(cls, taken: Sequence[int], targets: Sequence[int], catalogue: int) -> NewItems:
        """From the items of the training period and the validation rows' targets, over `catalogue` items."""
        new = np.setdiff1d(np.arange(catalogue), np.array(taken, dtype=np.int64))
        return cls(new, float(np.isin(targets, new).mean()) if len(targets) else 0.0)


def altered_rows(
    sequences: Sequence[Sequence[int]], *, rows: int, items: int, new: NewItems, seed: int
) -> list[list[int]]:
    """Rows of 3 to `items` items; none if no sequence has that many.

    Args:
        sequences: users' item indices, oldest first.
        new: each item of a row is replaced by one of these with the probability that validation rows want one.
        seed: of the random draws.
    """
    usable = [np.asarray(sequence) for sequence in sequences if len(sequence) >= LEAST]
    if not usable or items < LEAST:
        return []
    random = np.random.default_rng(seed)
    made: list[list[int]] = []
    while len(made) < rows:
        first, second = (usable[index] for index in random.integers(len(usable), size=2))
        row = WAYS[random.integers(len(WAYS))](first, second, random)
        if len(row) >= LEAST:
            begin = int(random.integers(max(1, len(row) - items + 1)))
            made.append(row[begin : begin + items].tolist())
    return [replaced(row, new, random) for row in made] if len(new.items) and new.share else made


def replaced(row: Sequence[int], new: NewItems, random: np.random.Generator) -> list[int]:
    """The row, with some of its items replaced by new ones."""
    others = random.choice(new.items, size=len(row))
    found: list[int] = np.where(random.random(len(row)) < new.share, others, row).tolist()
    return found


def left_out(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The first sequence, with 10 to 70 % of its items left out."""
    return first[random.random(len(first)) < random.uniform(0.3, 0.9)]


def disturbed(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The first sequence, with items moved by a few positions."""
    return first[np.argsort(np.arange(len(first)) + random.normal(0, random.uniform(1, 8), len(first)))]


def mixed(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Both sequences in turn, 1 to 7 items each time."""
    parts: list[np.ndarray] = []
    left = [first, second]
    while any(map(len, left)):
        for turn in (0, 1):
            size = int(random.integers(1, 8))
            parts.append(left[turn][:size])
            left[turn] = left[turn][size:]
    return np.concatenate(parts)


WAYS: tuple[Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray], ...] = (left_out, disturbed, mixed)
