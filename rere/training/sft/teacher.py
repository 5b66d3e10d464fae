"""An item model as a teacher: its distribution over the catalogue after any history."""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Sequence

import torch

from rere.recommenders.base import Recommender
from rere.recommenders.cross_fitted import teacher_log_probs

TOP, MEMORY = 512, 1 << 30
TINY = 1e-30
Asked = tuple[int | None, tuple[int, ...]]  # the fold of a history's user (None: not asked for), and the history


class Teacher:
    """An item model whose distribution is a target.

    Of an answer the K most probable items are kept, and the others share what is left evenly. It is asked once per
    history while memory lasts: an epoch asks for the same histories as the one before, and asking takes longer than the
    training itself. Remembered or asked again, an answer is the same.

    Args:
        items: size of the catalogue, I.
        top: most items kept per answer.
        memory: bytes for the answers that are kept.
    """

    def __init__(self, model: Recommender, items: int, top: int = TOP, memory: int = MEMORY) -> None:
        self.model, self.items = model, items
        index_type = torch.int16 if items <= torch.iinfo(torch.int16).max else torch.int32
        self.top_log_probs = torch.empty((0, min(top, items)), dtype=torch.float16)
        self.top_items = torch.empty((0, min(top, items)), dtype=index_type)
        bytes_per_row = min(top, items) * (torch.float16.itemsize + index_type.itemsize)
        self.most_rows = memory // bytes_per_row
        self.row_of: dict[Asked, int] = {}  # -> row of the two tables

    def log_probs(self, histories: Sequence[Sequence[int]], folds: Sequence[int] | None = None) -> torch.Tensor:
        """(P, I) float32, normalised.

        Args:
            folds: of the histories' users, for a cross-fitted model alone.
        """
        own: Sequence[int | None] = [None] * len(histories) if folds is None else folds
        keys = [(fold, tuple(history)) for fold, history in zip(own, histories, strict=True)]
        known = len(self.row_of)
        asked = list(dict.fromkeys(key for key in keys if key not in self.row_of))
        row_of_asked = {key: known + n for n, key in enumerate(asked)}
        if asked:
            self._ask(asked, known)
        row_of = ChainMap(row_of_asked, self.row_of)
        rows = torch.tensor([row_of[key] for key in keys])
        # Rows beyond the memory's are written over at the next call.
        self.row_of.update(itertools.islice(row_of_asked.items(), max(0, self.most_rows - known)))
        log_probs, items = self.top_log_probs[rows].float(), self.top_items[rows].long()
        rest = (1 - log_probs.exp().sum(1, keepdim=True)).clamp(min=TINY) / max(1, self.items - items.shape[1])
        return rest.log().repeat(1, self.items).scatter(1, items, log_probs).log_softmax(1)

    def _ask(self, asked: Sequence[Asked], first: int) -> None:
        """Write the answers to the tables' rows from `first` on."""
        histories, folds = [history for _, history in asked], [fold for fold, _ in asked if fold is not None]
        log_probs = teacher_log_probs(self.model, histories, self.items, folds or None)
        top = log_probs.topk(self.top_items.shape[1], dim=1, sorted=False)
        end = first + len(asked)
        if end > len(self.top_items):
            rows = max(end, min(2 * len(self.top_items), self.most_rows))
            self.top_log_probs, self.top_items = _longer(self.top_log_probs, rows), _longer(self.top_items, rows)
        self.top_log_probs[first:end] = top.values
        self.top_items[first:end] = top.indices


def _longer(table: torch.Tensor, rows: int) -> torch.Tensor:
    """The table with room for so many rows."""
    longer = table.new_empty((rows, table.shape[1]))
    longer[: len(table)] = table
    return longer
