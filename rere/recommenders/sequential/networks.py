"""How the neural rivals read histories: what a network has to give, and two ways to cut sequences into rows."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rere.config.recommenders import SequentialConfig

Rows = Sequence[Sequence[int] | np.ndarray]


class SequentialNetwork(nn.Module, ABC):
    """Turns histories into states of width D; a state's product with the item embeddings is its (I,) logits.

    The index one past the last item is padding.
    """

    def __init__(self, items: int, config: SequentialConfig) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, config.width, padding_idx=items)

    @property
    def padding(self) -> int:
        """The index of padding, which is also the size of the catalogue, I."""
        return self.item.num_embeddings - 1

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) states -> (..., I) logits over the catalogue."""
        return states @ self.item.weight[:-1].T

    @abstractmethod
    def rows(self, sequences: Sequence[np.ndarray], config: SequentialConfig, epoch: int) -> list[np.ndarray]:
        """An epoch's training rows, shuffled; each at least two items long."""

    @abstractmethod
    def examples(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """B rows -> (N, D) states and the (N,) items that came next."""

    @abstractmethod
    def last_states(self, histories: Rows) -> torch.Tensor:
        """B histories, none longer than `history_items` -> (B, D): the state after the last item of each."""


class CausalNetwork(SequentialNetwork):
    """Its `forward`: (B, T) int64 items, padded after the end -> (B, T, D), a state per item that no later one changes.

    So one row trains all its items, each as the target of those before it.
    """

    def rows(self, sequences: Sequence[np.ndarray], config: SequentialConfig, epoch: int) -> list[np.ndarray]:
        """See `cut_rows`."""
        return cut_rows(sequences, config, epoch)

    def examples(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = _padded(rows, self.padding).to(self.item.weight.device)
        targets = tokens[:, 1:]
        real = targets != self.padding
        return self(tokens[:, :-1])[real], targets[real]

    def last_states(self, histories: Rows) -> torch.Tensor:
        device = self.item.weight.device
        last = torch.tensor([len(history) - 1 for history in histories], device=device)
        states = self(_padded(histories, self.padding).to(device))
        return states[torch.arange(len(histories), device=device), last]


class WindowNetwork(SequentialNetwork):
    """Its `forward`: (B, L) int64 items, padded before the start to L = `history_items` -> (B, D).

    Every item sees every other, so a row trains its last item only.
    """

    def __init__(self, items: int, config: SequentialConfig) -> None:
        super().__init__(items, config)
        self.length: int = config.history_items

    def rows(self, sequences: Sequence[np.ndarray], config: SequentialConfig, epoch: int) -> list[np.ndarray]:
        """See `window_rows`."""
        return window_rows(sequences, config, epoch)

    def examples(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        targets = torch.tensor([int(row[-1]) for row in rows], device=self.item.weight.device)
        return self.last_states([row[:-1] for row in rows]), targets

    def last_states(self, histories: Rows) -> torch.Tensor:
        windows = np.full((len(histories), self.length), self.padding, dtype=np.int64)
        for window, history in zip(windows, histories, strict=True):
            window[self.length - len(history) :] = history
        return self(torch.from_numpy(windows).to(self.item.weight.device))


def cut_rows(sequences: Sequence[np.ndarray], config: SequentialConfig, epoch: int) -> list[np.ndarray]:
    """An epoch's rows, shuffled: views of up to `history_items` + 1 items, cut from a random position on.

    Neighbours share an item, so that every item but a sequence's first is a target once.
    """
    random, step = np.random.default_rng((config.seed, epoch)), config.history_items
    rows: list[np.ndarray] = []
    for sequence in sequences:
        end = len(sequence) - 1
        cuts = [0, *range(int(random.integers(1, step + 1)), end, step), end]
        rows += [sequence[low : high + 1] for low, high in itertools.pairwise(cuts)]
    return [rows[index] for index in random.permutation(len(rows))]


def window_rows(sequences: Sequence[np.ndarray], config: SequentialConfig, epoch: int) -> list[np.ndarray]:
    """An epoch's rows, shuffled: every item but a sequence's first, with up to `history_items` items before it."""
    rows = [
        sequence[max(0, position - config.history_items) : position + 1]
        for sequence in sequences
        for position in range(1, len(sequence))
    ]
    return [rows[index] for index in np.random.default_rng((config.seed, epoch)).permutation(len(rows))]


def _padded(rows: Rows, padding: int) -> torch.Tensor:
    """(B, T) int64, padded after the end."""
    return nn.utils.rnn.pad_sequence(
        [torch.as_tensor(np.asarray(row, dtype=np.int64)) for row in rows], batch_first=True, padding_value=padding
    )
