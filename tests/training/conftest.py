"""The model that tests of RL and preference training begin with."""

from __future__ import annotations

import pytest

from rere.catalog.index import CatalogIndex
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.training.sft.train import train_sft
from tests.conftest import TINY


@pytest.fixture(scope="session")
def start(world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model with much left to learn."""
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=1, learning_rate=3e-3, batch_tokens=64, sequence_items=8
    )
    return train_sft(world_windows, world_catalog, TINY, config, tmp_path_factory.mktemp("sft"), log=lambda *_: None)
