"""Rows of different lengths, laid out one after the other.

Axes: R rows, E entries of all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def row_starts(counts: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    """(R,) index of each row's first entry, given its number of entries (R,)."""
    return torch.cumsum(counts, 0) - counts


def ragged_arange(counts: Int[Tensor, " R"]) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"]]:
    """For row lengths (R,): the row of each entry (E,), and the entry's index in its row (E,)."""
    row = torch.repeat_interleave(counts)
    index = torch.arange(row.shape[0], device=counts.device)
    return row, index - row_starts(counts)[row]


def ragged_log_softmax(values: Float[Tensor, " E"], row: Int[Tensor, " E"], rows: int) -> Float[Tensor, " E"]:
    """(E,) log softmax over the values of each row; row: (E,) which of the `rows` rows a value belongs to."""
    highest = values.new_full((rows,), -torch.inf).scatter_reduce(0, row, values.detach(), "amax")
    total = values.new_zeros(rows).index_add(0, row, torch.exp(values - highest[row]))
    return values - highest[row] - torch.log(total)[row]
