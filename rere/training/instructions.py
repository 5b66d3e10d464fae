"""Which of several instructions a training row begins with: one is drawn for each row and epoch.

The draw depends on the seed, the epoch and the row alone: neither on the order of rows, nor on the number of processes,
nor on whether a run was interrupted.
"""

from __future__ import annotations

import numpy as np

from rere.catalog.index import CatalogIndex


class HeadDraw:
    """The tokens before the history of each training row of one epoch.

    Args:
        epoch: counts from 0; None: the first instruction for all.
    """

    def __init__(self, catalog: CatalogIndex, seed: int = 0, epoch: int | None = None) -> None:
        self.heads, self.seed, self.epoch = catalog.prompt_heads, seed, epoch

    def __call__(self, row: int) -> tuple[int, ...]:
        if self.epoch is None or len(self.heads) == 1:
            return self.heads[0]
        return self.heads[int(np.random.default_rng((self.seed, self.epoch, row)).integers(len(self.heads)))]
