"""The interface of everything that is evaluated: histories in, ranked items out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """Ranked items per row, best first.

    items: (P, k) int64 item indices, -1 where a list is exhausted (fewer than k items exist), or, with a finite score,
        where an unconstrained model generated no item
    scores: (P, k) float32, non-increasing along a row; -inf where exhausted
    """

    items: np.ndarray
    scores: np.ndarray


@runtime_checkable
class Recommender(Protocol):
    """Anything that ranks the catalogue for a user's history."""

    name: str

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """Rank the k most likely next items of each history.

        Args:
            histories: P lists of item indices, oldest first; each at least one long.
            k: list length.
        """
        ...
