"""Whether gradients of disjoint rows agree: by hand, and on the trainers' own gradients."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from experiments.signal import OBJECTIVES, as_training, disjoint_sets, label_gradient, rl_gradient, signal_of, table
from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.training.sft.train import train_sft
from tests.conftest import TINY


@pytest.fixture(scope="module")
def start(world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = SFTConfig(distillation=None, normalisation="vocab", epochs=1, batch_tokens=64, sequence_items=8)
    return train_sft(world_windows, world_catalog, TINY, config, tmp_path_factory.mktemp("sft"), log=lambda *_: None)


def test_signal_and_noise_by_hand() -> None:
    """(3, 1) and (3, -1): product 8, squares 10: cosine .8; noise is (10 - 8) * 50 rows = 100 for a signal of 8."""
    found = signal_of([torch.tensor([3.0, 1.0]), torch.tensor([3.0, -1.0])], rows=50)
    assert found.cosine == pytest.approx(0.8)
    assert found.rows == pytest.approx(12.5)
    opposite = signal_of([torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0])], rows=50)
    assert opposite.cosine == pytest.approx(-1)
    assert opposite.rows == math.inf


def test_sets_share_no_user(world_windows: Windows) -> None:
    parts = disjoint_sets(world_windows.of("train"), 3, 40, seed=1)
    users = [set(part["user_id"]) for part in parts]
    assert [len(part) for part in parts] == [40] * 3
    assert not users[0] & users[1] | users[0] & users[2] | users[1] & users[2]
    with pytest.raises(RereError, match="--rows"):
        disjoint_sets(world_windows.of("valid"), 3, 40, seed=1)


def test_a_gradient_is_the_mean_over_rows(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    """Two halves' gradients have the whole's as their mean, for RL and for cross-entropy."""
    rows = world_windows.of("train").iloc[:16]
    rl = RLConfig.model_validate({"num_generations": 4, "rewards": ["rule"], "device_batch_prompts": 8})
    labels = SFTConfig(distillation=None, rows="window", device_batch_rows=5)
    parts = [as_training(part, world_windows) for part in (rows, rows[:8], rows[8:])]
    by_rl = [rl_gradient(start, part, world_catalog, rl, None) for part in parts]
    by_labels = [label_gradient(start, part, world_catalog, labels) for part in parts]
    for whole, one, other in (by_rl, by_labels):
        assert whole.abs().sum() > 0
        torch.testing.assert_close(whole, (one + other) / 2, rtol=1e-3, atol=1e-6)


def test_the_table_has_a_row_for_each_objective_and_kind_of_rows(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    names = [name for name, config in OBJECTIVES.items() if config is None or not config.asks_teacher]
    found = table(start, world_windows, world_catalog, None, sets=2, size=4, seed=0, objectives=names)
    assert found["rows"].tolist() == ["training"] * len(names) + ["validation"] * len(names)
    assert found["cosine"].between(-1, 1).all()
