"""What many tests share: a small world in which the next item can be learned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import ScratchModel
from rere.config.catalog import IndexConfig
from rere.data.dataset import Dataset, IngestReport, Windows
from tests.home import DEVICE, home, project_kept

# The same examples for everybody: a change is refused for what it does. HYPOTHESIS_PROFILE=default draws others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
torch.set_num_threads(1)  # the models are tiny; threads would only wait for one another
TINY = ScratchModel(layers=1, width=32, heads=2, vocabulary=300)
WORLD_ITEMS = 24
a_gpu_each = pytest.mark.skipif(torch.cuda.device_count() == 1, reason="every process has a GPU of its own")


def pytest_configure() -> None:
    """Tests that were to run on a GPU don't run on the CPU unnoticed."""
    if os.environ.get(DEVICE) == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(
            f"{DEVICE}=cuda: torch {torch.__version__} sees no GPU on this machine. `make test` tests on the CPU."
        )


@pytest.fixture(scope="session", autouse=True)
def nothing_in_the_home() -> Iterator[None]:
    """No test, and nothing that it starts, writes to the user's home."""
    yield
    assert not sorted(path.name for path in home().iterdir())


@pytest.fixture(autouse=True)
def nothing_handed_on() -> Iterator[None]:
    """What a test tells this process of a project and its store isn't there for the tests after it."""
    with project_kept():
        yield


@pytest.fixture(scope="session")
def world_items() -> pd.DataFrame:
    """Items with some shared beginnings and one shared title."""
    titles = [f"{'Star' if n % 2 else 'Moon'} {'Trip' if n % 3 else 'Port'} {n}" for n in range(WORLD_ITEMS)]
    titles[5] = titles[3]
    return pd.DataFrame({"item_id": [f"i{n}" for n in range(WORLD_ITEMS)], "title": titles})


@pytest.fixture(scope="session")
def world_windows() -> Windows:
    """60 users who walk through the items in steps of 1 or (more rarely) 2, from anywhere."""
    random, rows = np.random.default_rng(0), []
    for user in range(60):
        walk = [int(random.integers(WORLD_ITEMS))]
        for _ in range(9):
            walk.append((walk[-1] + int(random.choice([1, 2], p=[0.8, 0.2]))) % WORLD_ITEMS)
        ids = [f"i{n}" for n in walk]
        for position in range(1, len(ids)):
            period = {len(ids) - 1: "test", len(ids) - 2: "valid"}.get(position, "train")
            rows.append((f"u{user}", ids[max(0, position - 4) : position], ids[position], 1_000 + position, period))
    table = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"])
    table.insert(0, "row_id", np.arange(len(table)))
    table["warm"] = True
    return Windows(table, history_items=4)


@pytest.fixture(scope="session")
def world_dataset(world_items: pd.DataFrame, world_windows: Windows) -> Dataset:
    """The interactions that the windows' targets are."""
    rows = world_windows.table.rename(columns={"target": "item_id"})
    report = IngestReport(source="world", source_sha256={"world": "0" * 64}, read={}, dropped={}, kept={})
    return Dataset(rows[["user_id", "item_id", "timestamp", "period"]], world_items, report)


@pytest.fixture(scope="session")
def world_catalog(world_items: pd.DataFrame) -> CatalogIndex:
    return build_index(world_items, IndexConfig(code=PrefixCode(), backbone=TINY))


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `make test`, which runs two processes: a file's tests stay together, and so do those of one smoke run.

    The latter take longest, so they begin.
    """
    pipeline = Path(__file__).with_name("pipeline")
    for item in items:
        item.add_marker(pytest.mark.xdist_group("pipeline" if pipeline in item.path.parents else str(item.path)))
    items.sort(key=lambda item: pipeline not in item.path.parents)
