"""One forward of trunks and of all branches off them.

The trunks' tokens are packed first, then those of the branches. A trunk's tokens attend within the trunk; a branch's
attend to the keys of its own prompt, picked from the trunk's, and to its own ancestors. So attention costs as much as
for windows, but keys are computed once; one grid of a trunk with all of its branches would cost the product of both.

Axes: N tokens of trunks, M of branches, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rere.models.packed_batch import PackedBatch


@dataclass(frozen=True)
class TrunkBatch:
    """trunks: the first N tokens; branches: the other M, whose `source` indexes all N + M; None for no branches."""

    trunks: PackedBatch
    branches: PackedBatch | None

    def at(self, positions: torch.Tensor, slot_positions: torch.Tensor | None) -> TrunkBatch:
        cut = len(self.trunks.row)
        trunks, branches = self.trunks.at(positions[:cut], None), self.branches
        if branches is not None:
            branches = branches.at(positions[cut:], positions[branches.source])
        return TrunkBatch(trunks, branches)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        *,
        dropout: float = 0.0,
        softcap: float | None = None,
        window: int | None = None,
    ) -> torch.Tensor:
        """Attention of packed queries (N + M, H, D) over the keys of each: (N + M, H, D)."""
        options: dict[str, Any] = {"dropout": dropout, "softcap": softcap, "window": window}
        cut = len(self.trunks.row)
        mixed = self.trunks.attend(layer, query[:cut], key[:cut], value[:cut], scaling, **options)
        if self.branches is None:
            return mixed
        return torch.cat([mixed, self.branches.attend(layer, query[cut:], key, value, scaling, **options)])
