"""The few collectives that the stages need. Without a process group each is the identity, so one process runs the same
code with the same numbers. `rere/runtime/launch.py` starts processes that have a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Value = TypeVar("Value")
BUCKET = 1 << 25  # elements of the gradient that travel at once


def world() -> int:
    """Processes of the group; 1 without one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_worker() -> bool:
    """Whether this process was started by `launch`."""
    return dist.is_initialized()


def is_main() -> bool:
    """Whether this process writes checkpoints, records and progress."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        dist.barrier()


def part(rows: int) -> slice:
    """This process's share of rows in order: shares are contiguous, and differ by one row at most."""
    bounds = [rows * process // world() for process in (rank(), rank() + 1)]
    return slice(*bounds)


def gathered(value: Value) -> list[Value]:
    """Every process's value (anything that pickles), in the order of ranks."""
    if world() == 1:
        return [value]
    every: list[Any] = [None] * world()
    dist.all_gather_object(every, value)
    return every


def total_of(sums: Mapping[str, float]) -> defaultdict[str, float]:
    """The sum over processes of named numbers, added in the order of ranks."""
    found: defaultdict[str, float] = defaultdict(float)
    for one in gathered(dict(sums)):
        for name, value in one.items():
            found[name] += value
    return found


@torch.no_grad()
def sum_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over processes; a process that has none adds zero."""
    if world() == 1:
        return
    bucket: list[torch.nn.Parameter] = []
    for weight in weights:
        bucket.append(weight)
        if sum(one.numel() for one in bucket) >= BUCKET:
            _sum(bucket)
            bucket = []
    if bucket:
        _sum(bucket)


def _sum(bucket: list[torch.nn.Parameter]) -> None:
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in bucket]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for weight, summed in zip(bucket, flat.split([weight.numel() for weight in bucket]), strict=True):
        weight.grad = summed.view_as(weight)
