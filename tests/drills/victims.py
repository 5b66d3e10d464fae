"""What the drills' processes do until they are killed. Their worlds come from directories: nothing is inherited."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from zenml.io import fileio

from materializers.dataset import DatasetMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.decoding import SearchSettings
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.collected import Collected
from rere.data.dataset import Dataset, Windows
from rere.models import checkpoint as stored
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_models import ItemModels
from rere.serving.engine.loading import load_deployment
from rere.training.checkpoint import load_progress
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.drills.store import local_store

SFT = SFTConfig(
    distillation=None, normalisation="vocab", epochs=3, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)
RL = RLConfig(
    num_generations=4,
    prompts=16,
    device_batch_prompts=16,
    updates=6,
    learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
)
BREATH = 0.15  # seconds after each log record, so that there is time to be killed in


def breathe(metrics: dict[str, float], update: int) -> None:
    time.sleep(BREATH)


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def world(folder: Path) -> tuple[Windows, CatalogIndex]:
    return Windows.load(folder / "windows"), CatalogIndex.load(folder / "catalog")


def fine_tune(folder: Path, work: Path) -> None:
    train_sft(*world(folder), TINY, SFT, work, log=breathe)


def fine_tune_until_sealing(folder: Path, work: Path) -> None:
    """Killed when the weights are written and their manifest isn't."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "seal", die)
        train_sft(*world(folder), TINY, SFT, work, log=lambda *_: None)


def reinforce(folder: Path, work: Path) -> None:
    train_rl(Checkpoint(folder / "tuned"), *world(folder), RL, work, log=breathe, teacher=teacher(folder))


def teacher(folder: Path) -> Any:
    return ItemModels.load(folder / "item_models").models["sasrec"]


def store_dataset(folder: Path, uri: str, copies: int) -> None:
    """Killed after so many files have reached the artifact store."""
    copy, done = fileio.copy, list[None]()

    def copy_or_die(*arguments: Any, **options: Any) -> None:
        if len(done) == copies:
            die()
        copy(*arguments, **options)
        done.append(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fileio, "copy", copy_or_die)
        DatasetMaterializer(uri, local_store(Path(uri).parent)).save(Dataset.load(folder / "dataset"))


def watch_loading(folder: Path, work: Path, report: Path) -> None:
    """Load everything that a run loads; write what was unpickled, if anything, to `report`."""
    torch.set_num_threads(1)
    found: list[str] = []
    watched = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watched and event == "pickle.find_class":
            found.append(".".join(map(str, arguments)))

    sys.addaudithook(hook)
    watched = True
    pickle.loads(pickle.dumps(Path("here")))
    proof, found[:] = list(found), []  # the hook works

    def refused(*_: Any, **__: Any) -> None:
        found.append("a pickle was opened")

    opened = [(pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")]
    kept = [getattr(module, name) for module, name in opened]
    for module, name in opened:
        setattr(module, name, refused)
    Dataset.load(folder / "dataset")
    Collected.load(folder / "collected")
    windows, catalog = world(folder)
    item_models = ItemModels.load(folder / "item_models")
    Checkpoint(folder / "tuned").load_model()
    served = (folder / "tuned", folder / "catalog")
    load_deployment("1", *served, history_items=4, search=SearchSettings(beams=4))
    assert load_progress(work / "rl" / "progress", torch.device("cpu")) is not None
    mentor = item_models.models["sasrec"]
    train_rl(Checkpoint(folder / "tuned"), windows, catalog, RL, work / "rl", log=lambda *_: None, teacher=mentor)
    # The trainer of transformers keeps its optimiser by torch.save and reads it back restricted to tensors
    # (weights_only): no name is ever looked up, which the hook would see.
    for (module, name), function in zip(opened, kept, strict=True):
        setattr(module, name, function)
    train_sft(windows, catalog, TINY, SFT, work / "sft", log=lambda *_: None)
    report.write_text(json.dumps({"proof": proof, "found": found}), encoding="utf-8")


importlib.import_module("trl")  # its trainer comes lazily
