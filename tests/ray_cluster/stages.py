"""What the workers of tests/ray_cluster/test_ray.py do."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch

from rere.catalog.index import CatalogIndex
from rere.config.preference import PreferenceConfig
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.runtime.progress import progress
from rere.training.preference.train import train_preference
from rere.training.rl.group import Group
from rere.training.rl.rewards.custom import CustomReward
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.training.pair import EVALUATION, RL, nothing
from tests.training.pair import SFT as LONG_SFT

# As few updates as show a difference: many are compared in tests/training/test_in_processes.py.
SFT = LONG_SFT.model_copy(update={"epochs": 1})
PLAIN = RL.model_copy(update={"rewards": (RankingReward(),), "updates": 2, "validate_every": 2})
PREFERENCE = PreferenceConfig(updates=2, prompts=16, device_batch_prompts=5, learning_rate=2e-3, validate_every=2)


def every_stage(spec: dict[str, Any], log: Log) -> None:
    """SFT, RL, preference and evaluation; who took part."""
    import ray  # an extra, which only the workers need to have

    place = Path(spec["place"])
    windows, catalog = Windows.load(place / "windows"), CatalogIndex.load(place / "catalog")
    for _ in progress(range(2), desc="stages", disable=False):
        pass
    start = train_sft(windows, catalog, TINY, SFT, place / "sft", log=log)
    train_rl(start, windows, catalog, PLAIN, place / "rl", log=nothing)
    train_preference(start, windows, catalog, PREFERENCE, place / "preference", log=nothing)
    table = evaluate_checkpoints({"start": start}, windows, catalog, EVALUATION, place)
    nodes = distributed.gathered(ray.get_runtime_context().get_node_id())
    if distributed.is_main():
        table.to_parquet(place / "results.parquet")
        (place / "nodes.txt").write_text("\n".join(nodes))


def mistake(spec: dict[str, Any], log: Log) -> None:
    if distributed.rank() == distributed.world() - 1:
        raise RereError("finite rewards", "values that are not finite", "mend the function")


UPDATES: list[Group] = []  # what this process was shown in updates


def in_third_update(group: Group) -> bool:
    """Whether the reward is asked for the third time by this process, which forwards an update at once."""
    if group.row_ids != [0, 1]:  # the trial before training is none
        UPDATES.append(group)
    return len(UPDATES) == 3


def first(name: str) -> bool:
    """Whether nobody has asked for this name before, in any process; they share a current directory."""
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def deadly(group: Group) -> torch.Tensor:
    """The ranking reward, but the second worker is killed in the third update, once."""
    if in_third_update(group) and distributed.rank() == 1 and first("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    return RankingReward()(group)


def stuck(group: Group) -> torch.Tensor:
    """The ranking reward, but each worker waits in its third update, once, until it is killed."""
    if in_third_update(group) and distributed.is_worker() and first(f"stuck-{distributed.rank()}"):
        threading.Event().wait()
    return RankingReward()(group)


def asked(reward: str) -> RLConfig:
    """RL whose reward is one of these functions."""
    rewards = (CustomReward(path=f"tests.ray_cluster.stages:{reward}"),)
    return UNTROUBLED.model_copy(update={"rewards": rewards})


UNTROUBLED = PLAIN.model_copy(update={"updates": 4, "device_batch_prompts": 16})
