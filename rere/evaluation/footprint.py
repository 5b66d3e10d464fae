"""What models cost to answer: time of one request, bytes of their files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

WARM_UP, REQUESTS = 3, 20


def latencies_ms(models: Mapping[str, Callable[[int], object]], requests: int) -> dict[str, float]:
    """Milliseconds that each model takes for one request alone: the lower quartile of `REQUESTS`, after a warm-up.

    The models are asked in turn, so that whatever else the machine does meanwhile meets all of them; and as other work
    only ever adds to a time, the lower quartile is nearer to the model's own than the median.

    Args:
        models: name -> what answers the request of a number.
        requests: how many different ones there are, at least 1; those asked are evenly spaced.
    """
    asked = [n * requests // (WARM_UP + REQUESTS) for n in range(WARM_UP + REQUESTS)]
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn, request in enumerate(asked):
        order = list(models.items())
        for name, answer in order if turn % 2 else order[::-1]:  # nobody always comes second
            started = time.perf_counter()
            answer(request)
            times[name].append(time.perf_counter() - started)
    return {name: float(np.quantile(found[WARM_UP:], 0.25) * 1000) for name, found in times.items()}


def mebibytes(*directories: Path) -> float:
    """Size of all files below."""
    files = (file for directory in directories for file in directory.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / 2**20
