"""Candidates become the groups that rewards judge: what is known of a training row's items, history and future.

Axes: P prompts, G candidates, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from rere.catalog.index import CatalogIndex
from rere.catalog.item_vectors import item_vectors
from rere.config.catalog import Embedding, FromUsers
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.data.stretches import stretch_ends
from rere.training.rl.group import Group, ItemFacts
from rere.training.rl.rewards.total import score_ranks
from rere.training.rows import stretches_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class GroupBuilder:
    """Looks up, once per training, what the rewards ask for.

    Args:
        windows: all of them: an item's popularity counts every training row.
        training: the windows whose training rows are prompts.
        targets: (rows,) item indices of those rows.
    """

    def __init__(
        self,
        windows: Windows,
        training: Windows,
        targets: Int[Tensor, " rows"],
        catalog: CatalogIndex,
        config: RLConfig,
        *,
        device: torch.device,
    ) -> None:
        every_target = torch.tensor([catalog.index_of[item] for item in windows.of("train")["target"]])
        popularity = torch.bincount(every_target, minlength=len(catalog.item_ids))
        self.item_facts = ItemFacts.of(catalog, popularity)
        rows = training.of("train")
        self.targets = targets
        self.row_ids = rows["row_id"].to_numpy()
        self.stretch_ends = stretch_ends(rows, windows.history_items) if config.asks_following else None
        self.vectors: dict[Embedding, Float[Tensor, "I width"]] = {}
        for reward in config.rewards:
            if (asked := reward.item_vectors) is not None and asked not in self.vectors:
                sequences = None
                if isinstance(asked, FromUsers):
                    every = stretches_of(windows.of("train"), catalog, windows.history_items)
                    sequences = [np.array(stretch.items) for stretch in every]
                vectors = item_vectors(catalog.descriptions, asked, sequences, config.seed)
                self.vectors[asked] = torch.from_numpy(vectors).to(device)

    def group(
        self,
        rows: np.ndarray,
        items: Int[Tensor, "P G"],
        valid: Bool[Tensor, "P G"],
        scores: Float[Tensor, "P G"],
        *,
        histories: Sequence[Sequence[int]],
        teacher_log_probs: Float[Tensor, "P I"] | None,
    ) -> Group:
        """The group of some training rows.

        Args:
            rows: (P,) their indices.
            items: int64 item indices of the candidates, -1 for what is no item.
            valid: False where there is no candidate.
            scores: the policy's, by which candidates are ranked.
            histories: P lists of item indices, as the prompts showed them.
            teacher_log_probs: of all items (nats); None where no reward asks a teacher.
        """
        targets = self.targets[rows].to(items.device)
        return Group(
            items=items,
            targets=targets,
            hits=items == targets[:, None],
            rank=score_ranks(scores, valid),
            valid=valid,
            similarities={asked: _cosines(vectors, items, targets) for asked, vectors in self.vectors.items()},
            teacher=None
            if teacher_log_probs is None
            else teacher_log_probs.gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf),
            following=None if self.stretch_ends is None else [self._following(row) for row in rows.tolist()],
            catalog=self.item_facts,
            histories=histories,
            row_ids=self.row_ids[rows].tolist(),
        )

    def _following(self, row: int) -> list[int]:
        """What the user took after a row's target, in the training period."""
        assert self.stretch_ends is not None
        return self.targets[row + 1 : self.stretch_ends[row]].tolist()


def _cosines(
    vectors: Float[Tensor, "I width"], items: Int[Tensor, "P G"], targets: Int[Tensor, " P"]
) -> Float[Tensor, "P G"]:
    """Cosines of the candidates' and the target's unit vectors; 0 for what is no item."""
    return (vectors[items.clamp(min=0)] * vectors[targets][:, None]).sum(2).masked_fill(items < 0, 0.0)
