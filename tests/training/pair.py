"""What each of two processes does for tests/training/test_in_processes.py; started by a launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.config.training import SequencePrefill
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.models.checkpoint import Checkpoint
from rere.recommenders.registry import model_type
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.runtime.progress import progress
from rere.training.rl.group import Group
from rere.training.rl.losses.registry import LOSSES
from rere.training.rl.rewards.custom import CustomReward
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.training.killed import Killed, killed_after_epoch, killed_in_update

# Five rows per update and two per forward; 60 prompts in updates of 16 with forwards of 5: nothing divides evenly.
SFT = SFTConfig(
    distillation=None,
    normalisation="vocab",
    epochs=3,
    learning_rate=2e-3,
    batch_tokens=35,
    device_batch_rows=3,
    sequence_items=8,
    validations_per_epoch=2,  # a checkpoint lies within an epoch too
)
RL = RLConfig(
    num_generations=4,
    prompts=16,
    device_batch_prompts=5,
    updates=6,
    learning_rate=2e-3,
    validate_every=3,
    checkpoint_every=2,
    probe_rows=20,
)
BY_SEQUENCE = RL.model_copy(update={"prefill": SequencePrefill(prompts=3)})
EVALUATION = EvaluationConfig(beams=10, batch_prompts=9)


def with_loss(loss: str) -> RLConfig:
    """RL by a loss; by GRPO with two steps per rollout."""
    return RL.model_validate({**RL.model_dump(), "loss": loss, "num_iterations": 2 if loss == "grpo" else 1})


def nothing(metrics: dict[str, float], update: int) -> None:
    pass


UPDATES: list[Group] = []  # what `deadly` was shown in updates


def deadly(group: Group) -> torch.Tensor:
    """A reward at which the second process is killed, in the third update."""
    if group.row_ids != [0, 1]:  # the trial before training is no update
        UPDATES.append(group)
    if distributed.rank() == 1 and len(UPDATES) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return group.hits.float()


DEADLY = RL.model_copy(
    update={"rewards": (CustomReward(path="tests.training.pair:deadly"),), "device_batch_prompts": 16}
)


def work(spec: dict[str, Any], log: Log) -> None:
    torch.set_num_threads(1)
    place = Path(spec["place"])
    windows, catalog = Windows.load(place / "windows"), CatalogIndex.load(place / "catalog")
    teacher, start = model_type("sasrec").load(place / "teacher"), Checkpoint(place / "start")
    train_sft(windows, catalog, TINY, SFT, place / "sft", log=log)
    train_sft(windows, catalog, TINY, SFT, place / "sft-one-two", log=nothing)  # goes on from one process's checkpoint
    with contextlib.suppress(Killed):
        train_sft(windows, catalog, TINY, SFT, place / "sft-two-one", log=killed_after_epoch(2))
    distributed.barrier()
    for loss in LOSSES:
        config = with_loss(loss.type_name())
        train_rl(start, windows, catalog, config, place / loss.type_name(), log=nothing, teacher=teacher)
    train_rl(start, windows, catalog, BY_SEQUENCE, place / "by-sequence", log=nothing, teacher=teacher)
    train_rl(start, windows, catalog, RL, place / "rl-one-two", log=nothing, teacher=teacher)
    with contextlib.suppress(Killed):
        train_rl(start, windows, catalog, RL, place / "rl-two-one", log=killed_in_update(5), teacher=teacher)
    distributed.barrier()
    table = evaluate_checkpoints({"start": start}, windows, catalog, EVALUATION, place)
    if distributed.is_main():
        table.to_parquet(place / "results.parquet")


def shards(spec: dict[str, Any], log: Log) -> None:
    """Train with sharded weights; two processes stop after the second epoch, and one goes on.

    accelerate takes FSDP for GPUs only, though gloo can do it. This makes it think so.
    """
    plain = AcceleratorState.__init__

    def with_fsdp(self, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:  # type: ignore[no-untyped-def]
        plain(self, *args, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

    AcceleratorState.__init__ = with_fsdp
    torch.set_num_threads(1)
    place = Path(spec["place"])
    windows, catalog = Windows.load(place / "windows"), CatalogIndex.load(place / "catalog")
    config = SFT.model_copy(update={"sharding": "fsdp", "gradient_checkpointing": "on"})
    if distributed.world() == 2:
        train_sft(windows, catalog, TINY, config, place / "shards", log=log)
        with contextlib.suppress(Killed):
            train_sft(windows, catalog, TINY, config, place / "shards-two-one", log=killed_after_epoch(2))
        distributed.barrier()
    else:
        train_sft(windows, catalog, TINY, config, place / "shards-two-one", log=log)


def threads(spec: dict[str, Any], log: Log) -> None:
    (Path(spec["place"]) / f"{distributed.rank()}.threads").write_text(str(torch.get_num_threads()), encoding="utf-8")


class Aborting:
    """What aborts while the interpreter goes down, as a thread of gloo may that lets go of a tensor then."""

    def __del__(self, abort: Callable[[], NoReturn] = os.abort) -> None:
        abort()


KEPT: list[Aborting] = []


def finish(spec: dict[str, Any], log: Log) -> None:
    KEPT.append(Aborting())


def mistake(spec: dict[str, Any], log: Log) -> None:
    KEPT.append(Aborting())
    if distributed.rank() == 1:
        raise RereError("finite rewards", "values that are not finite", "mend the function")


def crash(spec: dict[str, Any], log: Log) -> None:
    if distributed.rank() == 1:
        os.abort()


def bar(spec: dict[str, Any], log: Log) -> None:
    for _ in progress(range(30), desc="work", disable=False):
        pass


def sleep(spec: dict[str, Any], log: Log) -> None:
    (Path(spec["place"]) / f"{distributed.rank()}.pid").write_text(str(os.getpid()))
    time.sleep(3600)
