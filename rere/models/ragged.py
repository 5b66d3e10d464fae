"""Rows of different lengths, laid out one after the other.

Axes: R rows, E entries of all rows.
"""

from __future__ import annotations

import torch


def row_starts(counts: torch.Tensor) -> torch.Tensor:
    """(R,) index of each row's first entry, given its number of entries (R,)."""
    return torch.cumsum(counts, 0) - counts


def ragged_arange(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For row lengths (R,): the row of each entry (E,), and the entry's index in its row (E,)."""
    row = torch.repeat_interleave(counts)
    index = torch.arange(row.shape[0], device=counts.device)
    return row, index - row_starts(counts)[row]


def ragged_log_softmax(values: torch.Tensor, row: torch.Tensor, rows: int) -> torch.Tensor:
    """(E,) log softmax over the values of each row; row: (E,) which of the `rows` rows a value belongs to."""
    highest = values.new_full((rows,), -torch.inf).scatter_reduce(0, row, values.detach(), "amax")
    total = values.new_zeros(rows).index_add(0, row, torch.exp(values - highest[row]))
    return values - highest[row] - torch.log(total)[row]
