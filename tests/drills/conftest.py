"""A small world on disk, which the drills' processes read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.catalog.index import CatalogIndex
from rere.config.recommenders import ItemModelsConfig
from rere.data.collected import collect
from rere.data.dataset import Dataset, Windows
from rere.data.raw import RawData
from rere.models.checkpoint import Checkpoint
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData
from rere.recommenders.sequential.sasrec import SASRecConfig
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.drills.victims import SFT


@pytest.fixture(scope="session")
def world_place(
    world_windows: Windows,
    world_catalog: CatalogIndex,
    world_dataset: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    directory = tmp_path_factory.mktemp("world")
    world_windows.save(directory / "windows")
    world_catalog.save(directory / "catalog")
    world_dataset.save(directory / "dataset")
    events = world_dataset.interactions[["user_id", "item_id", "timestamp"]]
    collect(RawData("world", events, world_dataset.items, {})).save(directory / "collected")
    sasrec = SASRecConfig(layers=1, width=8, heads=1, feed_forward=8, epochs=1, history_items=4)
    config = ItemModelsConfig(rivals=(sasrec,), teacher="sasrec")
    walks = [np.arange(first, first + 6) % len(world_catalog.item_ids) for first in range(12)]
    fit_item_models(FitData(walks, len(world_catalog.item_ids), [[0]], [1]), config).save(directory / "item_models")
    return directory


@pytest.fixture(scope="session")
def tuned(world_place: Path, world_windows: Windows, world_catalog: CatalogIndex) -> Checkpoint:
    """Fine-tuned without any accident: where RL starts, and what an accident must not change."""
    made = train_sft(world_windows, world_catalog, TINY, SFT, world_place / "undisturbed", log=lambda *_: None)
    made.path.rename(world_place / "tuned")
    return Checkpoint(world_place / "tuned")


def curves(checkpoint: Checkpoint, *keys: str) -> pd.DataFrame:
    """What was measured, update by update; times left out, for they differ."""
    return pd.DataFrame(checkpoint.curves())[list(keys)]
