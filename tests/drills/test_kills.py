"""kill -9 amid training and writing, then again: it goes on, loses nothing, and ends where it would have."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from materializers.dataset import DatasetMaterializer
from rere.catalog.index import CatalogIndex
from rere.data.dataset import Dataset, Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.training.checkpoint import load_progress
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.drills import victims
from tests.drills.conftest import curves
from tests.drills.processes import ended_by, kill_once_there, start
from tests.drills.store import local_store


def same_weights(one: Checkpoint, other: Checkpoint) -> None:
    left, right = one.load_model().state_dict(), other.load_model().state_dict()
    assert left.keys() == right.keys()
    for name, weight in left.items():
        torch.testing.assert_close(right[name], weight)


def test_fine_tuning_goes_on_after_each_kill(
    world_place: Path, tuned: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    kill_once_there(start(victims.fine_tune, world_place, tmp_path), tmp_path, "checkpoints/*/trainer_state.json")
    done = max(int(path.name.rpartition("-")[2]) for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert ended_by(start(victims.fine_tune_until_sealing, world_place, tmp_path)) == -signal.SIGKILL
    result = tmp_path / "model"
    assert (result / "model.safetensors").is_file()  # written, but not sealed: not to be trusted
    with pytest.raises(RereError, match="half-written"):
        Checkpoint(result).verify()
    seen: list[int] = []
    made = train_sft(
        world_windows, world_catalog, TINY, victims.SFT, tmp_path, log=lambda _, update: seen.append(update)
    )
    assert all(update > done for update in seen)
    same_weights(tuned, made)
    losses = ["update", "valid_loss"]
    pd.testing.assert_frame_equal(curves(made, *losses), curves(tuned, *losses))
    assert not (tmp_path / "checkpoints").exists()


def test_reinforcement_goes_on_after_each_kill(
    world_place: Path, tuned: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    kill_once_there(start(victims.reinforce, world_place, tmp_path), tmp_path, "progress/manifest.json")
    saved = load_progress(tmp_path / "progress", torch.device("cpu"))
    assert saved is not None
    first = saved[1]["update"]
    assert first >= 2
    arguments = (tuned, world_windows, world_catalog, victims.RL)
    teacher, seen = victims.teacher(world_place), []
    made = train_rl(*arguments, tmp_path, log=lambda _, update: seen.append(update), teacher=teacher)
    assert victims.RL.updates is not None
    assert seen == list(range(first + 1, victims.RL.updates + 1))
    whole = train_rl(*arguments, tmp_path / "undisturbed", log=lambda *_: None, teacher=teacher)
    same_weights(whole, made)
    measured = ["update", "reward", "kl", "groups_with_hit"]
    pd.testing.assert_frame_equal(curves(made, *measured), curves(whole, *measured))


def test_a_half_stored_artifact_is_never_read_and_storing_again_makes_it_whole(
    world_place: Path, world_dataset: Dataset, tmp_path: Path
) -> None:
    files = len(list((world_place / "dataset").iterdir()))
    assert files == 5
    for copies in range(files):  # the manifest is the last
        uri = str(tmp_path / f"artifact{copies}")
        assert ended_by(start(victims.store_dataset, world_place, uri, copies)) == -signal.SIGKILL
        assert len(list(Path(uri).rglob("*.*"))) == copies
        materializer = DatasetMaterializer(uri, local_store(tmp_path))
        with pytest.raises((RereError, FileNotFoundError), match=r"half-written|[Nn]o such"):
            materializer.load(data_type=Dataset)
        materializer.save(world_dataset)
        pd.testing.assert_frame_equal(materializer.load(data_type=Dataset).items, world_dataset.items)


def test_a_manifest_that_was_cut_short_is_one_clear_message(world_dataset: Dataset, tmp_path: Path) -> None:
    world_dataset.save(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8")[:40], encoding="utf-8")
    with pytest.raises(RereError, match=r"a whole .*manifest\.json; got an unreadable one.*make it again"):
        Dataset.load(tmp_path)
