"""What a model costs to answer: time of one request, bytes of its files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rere.errors import RereError
from rere.recommenders.base import Recommender

WARM_UP, REQUESTS = 3, 20


def latency_ms(recommender: Recommender, histories: Sequence[Sequence[int]], k: int) -> float:
    """Median milliseconds of a request with one history, one at a time, after a few to warm up.

    Args:
        histories: at least one, of item indices; `REQUESTS` of them, evenly spaced, are asked, or all if fewer.
    """
    if not histories:
        raise RereError("at least one history to time", "none", "use more data, or another split")
    asked = [histories[n * len(histories) // REQUESTS] for n in range(REQUESTS)]
    times = []
    for history in [*asked[:WARM_UP], *asked]:
        started = time.perf_counter()
        recommender.recommend([history], k)
        times.append(time.perf_counter() - started)
    return float(np.median(times[WARM_UP:]) * 1000)


def mebibytes(*directories: Path) -> float:
    """Size of all files below."""
    files = (file for directory in directories for file in directory.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / 2**20
