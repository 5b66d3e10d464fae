"""Which training rows share a run of their history, and the prompts of rows that do.

By windows each row is a group of its own. By sequence a group is a user's next `prefill.prompts` rows, whose prompts
branch off one trunk (rere/models/trunks.py). An epoch takes groups in an order that depends on the seed and the epoch
only; neither a forward nor a process takes a part of a group, so the numbers depend on neither. An update has as many
prompts as ever: it cuts the group that it can't take whole, and the next one begins with the rest.

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


class PrefillGroups:
    """The training rows of a run, by group.

    Args:
        windows: their training rows are these, each user's in order.
        histories: each row's, as item indices.
        targets: (N,) item indices.

    Raises:
        RereError: groups are asked for, and prompts are not the instruction and the running history.
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
            place = np.arange(len(rows)) - begins[np.cumsum(stretch_begins) - 1]  # of a row in its stretch
            self.group = np.cumsum(place % prefill.prompts == 0) - 1

    def epoch(self, seed: int, epoch: int) -> np.ndarray:
        """(N,) all rows, group after group."""
        order = np.random.default_rng((seed, epoch)).permutation(int(self.group[-1]) + 1)
        return np.argsort(np.argsort(order)[self.group], kind="stable")

    def micro_batches(self, rows: np.ndarray, most: int) -> list[np.ndarray]:
        """Consecutive parts of an update's rows, of whole groups and at most so many rows."""
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

    def prompts(self, rows: np.ndarray, device: torch.device) -> Prompts:
        """The prompts of rows that `share` gave."""
        if not self.shared:
            return [self.catalog.prompt(self.histories[row]) for row in rows]
        bounds, tokens = self._bounds(rows), self.catalog.item_tokens
        walks, places = [], []
        for begin, end in itertools.pairwise(bounds):
            history = self.histories[rows[begin]]
            walk = [*history, *self.targets[rows[begin : end - 1]].tolist()]
            walks.append([tokens[item] for item in walk])
            places.append([len(history) + n for n in range(end - begin)])
        return Trunks.of(self.catalog.prompt_head, walks, places, self.history_items, device)

    def longest(self) -> int:
        """Tokens of the longest trunk with the longest item after it; 0 where rows share none."""
        if not self.shared:
            return 0
        trie = self.catalog.trie
        lengths = np.diff(trie.item_offsets.numpy())
        before = np.concatenate([[0], np.cumsum(lengths[self.targets])])
        first = np.flatnonzero(np.diff(self.group, prepend=-1))
        last = np.append(first[1:], len(self.group)) - 1
        histories = np.array([lengths[list(self.histories[row])].sum() for row in first.tolist()])
        longest = (histories + before[last] - before[first]).max()
        return len(self.catalog.prompt_head) + int(longest) + trie.max_length

    def _require_running_history(self) -> None:
        history, head, tokens = self.histories[0], self.catalog.prompt_head, self.catalog.item_tokens
        if self.catalog.prompt(history) != [*head, *(token for item in history for token in tokens[item])]:
            raise RereError(
                "prompts that are the instruction and the running history, for `prefill: {type: sequence}`",
                "prompts of another form",
                "set `prefill: {type: window}`",
            )

    def _bounds(self, rows: np.ndarray) -> np.ndarray:
        """Where groups begin among rows, and the end."""
        return np.append(np.flatnonzero(np.diff(self.group[rows], prepend=-1)), len(rows))
