"""Forward co-occurrence: the items that came next, or soon after, in other users' sequences.

A pair of items, the second d positions after the first in a sequence, counts `decay` to the power of d - 1, up to
`window` positions. A row of counts, divided by its sum to the power of `row_power`, is what its item adds to the
others' scores: with 1 every item of a history has the same weight, with 0 an item that is followed often has more.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse import coo_array, csr_array

from rere.recommenders.item_item import NonNegativeModel, RelationConfig
from rere.recommenders.item_model import FitData


class CoOccurrenceConfig(RelationConfig):
    """Forward co-occurrence: what came next, with decay."""

    type: Literal["co_occurrence"] = "co_occurrence"
    recency: float = Field(
        default=0.6, gt=0, le=1, description="an item j positions before a history's last counts recency^j"
    )
    window: int = Field(default=10, ge=1, description="how many positions ahead an item counts as next")
    decay: float = Field(default=0.8, gt=0, le=1, description="an item d positions ahead counts decay^(d-1)")
    row_power: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="an item's counts are divided by their sum to this power: 1 gives every item the same say",
    )


class CoOccurrence(NonNegativeModel):
    """A fitted forward co-occurrence model."""

    title = "co-occurrence"
    config_type = CoOccurrenceConfig

    @classmethod
    def fit_weights(cls, data: FitData, config: CoOccurrenceConfig) -> csr_array:
        """Scaled counts of ordered pairs of items."""
        flat = np.concatenate([np.empty(0, dtype=np.int64), *data.sequences]).astype(np.int64)
        sequence_of = np.repeat(np.arange(len(data.sequences)), [len(sequence) for sequence in data.sequences])
        counts = csr_array((data.items, data.items), dtype=np.float64)
        for distance in range(1, min(config.window, len(flat) - 1) + 1):
            together = sequence_of[:-distance] == sequence_of[distance:]
            first, second = flat[:-distance][together], flat[distance:][together]
            value = np.full(len(first), config.decay ** (distance - 1))
            counts = counts + coo_array((value, (first, second)), shape=(data.items, data.items)).tocsr()
        sums = np.repeat(counts.sum(1), np.diff(counts.indptr))  # of its row, for each count
        counts.data /= sums**config.row_power
        return counts
