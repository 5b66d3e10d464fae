"""One forward of trunks and of all branches off them.

The trunks' tokens are packed first, then those of the branches. A trunk's tokens attend within the trunk; a branch's
attend to the keys of its own prompt, picked from the trunk's, and to its own ancestors. So attention costs as much as
for windows, but keys are computed once; one grid of a trunk with all of its branches would cost the product of both.

Axes: T tokens of trunks and branches together, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rere.models.packed_batch import PackedBatch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class TrunkBatch:
    """trunks: the first tokens; branches: the others, whose `source` indexes all T; None for no branches."""

    trunks: PackedBatch
    branches: PackedBatch | None

    def at(self, positions: Int[Tensor, " T"], slot_positions: Int[Tensor, "P S"] | None) -> TrunkBatch:
        cut = len(self.trunks.row)
        trunks, branches = self.trunks.at(positions[:cut], None), self.branches
        if branches is not None:
            branches = branches.at(positions[cut:], positions[branches.source])
        return TrunkBatch(trunks, branches)

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "T H D"],
        key: Float[Tensor, "T H D"],
        value: Float[Tensor, "T H D"],
        scaling: float | None,
        *,
        dropout: float = 0.0,
        softcap: float | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "T H D"]:
        """Attention of packed queries (T, H, D) over the keys of each: (T, H, D)."""
        options: dict[str, Any] = {"dropout": dropout, "softcap": softcap, "window": window}
        cut = len(self.trunks.row)
        mixed = self.trunks.attend(layer, query[:cut], key[:cut], value[:cut], scaling, **options)
        if self.branches is None:
            return mixed
        return torch.cat([mixed, self.branches.attend(layer, query[cut:], key, value, scaling, **options)])
