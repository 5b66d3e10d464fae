"""Groups of training rows that share their history, and the prompts of such groups.

By windows each row is a group of its own. By sequence a group is a user's next `prefill.prompts` rows, whose prompts
branch off one trunk (rere/models/trunks.py). An epoch's order of groups depends on the seed and the epoch only. Neither
a forward nor a process takes part of a group, so the results depend on neither. Every update has the same number of
prompts: it splits a group that doesn't fit whole, and the next update begins with the rest.

Axes: N training rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from rere.catalog.index import CatalogIndex
from rere.config.training import Prefill, SequencePrefill
from rere.data.dataset import Windows
from rere.data.stretches import follows
from rere.errors import RereError
from rere.models.trunks import Prompts, Trunks
from rere.runtime import distributed
from rere.training.instructions import HeadDraw


class PrefillGroups:
    """The training rows of a run, by group.

    Args:
        windows: the windows, of which the training rows are grouped; each user's rows are in order.
        histories: each training row's, as item indices.
        targets: (N,) item indices.

    Raises:
        RereError: prefill by sequence with prompts that are not the instruction and the running history.
    """

    def __init__(
        self,
        windows: Windows,
        catalog: CatalogIndex,
        histories: Sequence[Sequence[int]],
        targets: np.ndarray,
        prefill: Prefill,
    ) -> None:
        self.catalog, self.histories, self.targets = catalog, histories, targets
        self.history_items = windows.history_items
        self.shared = isinstance(prefill, SequencePrefill)
        self.group = np.arange(len(targets))  # (N,) number of each row's group
        if isinstance(prefill, SequencePrefill):
            self._require_running_history()
            rows = windows.of("train")
            stretch_begins = ~follows(rows, windows.history_items)
            begins = np.flatnonzero(stretch_begins)
            position = np.arange(len(rows)) - begins[np.cumsum(stretch_begins) - 1]  # of a row in its stretch
            self.group = np.cumsum(position % prefill.prompts == 0) - 1

    def epoch(self, seed: int, epoch: int) -> np.ndarray:
        """(N,) all rows, group after group."""
        order = np.random.default_rng((seed, epoch)).permutation(int(self.group[-1]) + 1)
        return np.argsort(np.argsort(order)[self.group], kind="stable")

    def micro_batches(self, rows: np.ndarray, most: int) -> list[np.ndarray]:
        """Consecutive parts of an update's rows: whole groups, and at most `most` rows unless one group has more."""
        bounds, first = self._bounds(rows), 0
        batches = []
        for begin, end in itertools.pairwise(bounds):
            if end - first > most and begin > first:
                batches.append(rows[first:begin])
                first = begin
        return [*batches, rows[first:]]

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of a micro-batch: whole groups."""
        bounds = self._bounds(rows)
        own = distributed.part(len(bounds) - 1)
        return rows[bounds[own.start] : bounds[own.stop]]

    def prompts(self, rows: np.ndarray, device: torch.device, draw: HeadDraw | None = None) -> Prompts:
        """The prompts of rows that `share` gave.

        Args:
            draw: of the instructions; a trunk has that of its first row. None: the first instruction.
        """
        draw = draw or HeadDraw(self.catalog)
        if not self.shared:
            return [self.catalog.prompt(self.histories[row], draw(row)) for row in rows.tolist()]
        bounds, tokens = self._bounds(rows), self.catalog.item_tokens
        walks, branch_points = [], []
        for begin, end in itertools.pairwise(bounds):
            history = self.histories[rows[begin]]
            walk = [*history, *self.targets[rows[begin : end - 1]].tolist()]
            walks.append([tokens[item] for item in walk])
            branch_points.append([len(history) + n for n in range(end - begin)])
        heads = [draw(row) for row in rows[bounds[:-1]].tolist()]
        return Trunks.of(heads, walks, branch_points, self.history_items, device)

    def longest(self) -> int:
        """Tokens of the longest trunk with the longest item after it; 0 if rows share no trunks."""
        if not self.shared:
            return 0
        trie = self.catalog.trie
        lengths = np.diff(trie.item_offsets.numpy())
        before = np.concatenate([[0], np.cumsum(lengths[self.targets])])
        first = np.flatnonzero(np.diff(self.group, prepend=-1))
        last = np.append(first[1:], len(self.group)) - 1
        histories = np.array([lengths[list(self.histories[row])].sum() for row in first.tolist()])
        longest = (histories + before[last] - before[first]).max()
        return self.catalog.frame_tokens + int(longest) + trie.max_length

    def _require_running_history(self) -> None:
        history, head, tokens = self.histories[0], self.catalog.prompt_head, self.catalog.item_tokens
        if self.catalog.prompt(history) != [*head, *(token for item in history for token in tokens[item])]:
            raise RereError(
                "prompts that are the instruction and the running history, for `prefill: {type: sequence}`",
                "prompts of another form",
                "set `prefill: {type: window}`, or `catalog.prompt: plain`",
            )

    def _bounds(self, rows: np.ndarray) -> np.ndarray:
        """Index of the first of each group's rows, and the number of rows."""
        return np.append(np.flatnonzero(np.diff(self.group[rows], prepend=-1)), len(rows))
