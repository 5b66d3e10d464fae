"""Stages on a real Ray cluster of two nodes on this machine (`make test-ray`): the results of one process; a worker, a
node and the head killed; what is said before anything starts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.patience import until
from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.models.checkpoint import Checkpoint
from rere.runtime.launchers.ray import RayLauncher
from rere.training.preference.train import train_preference
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.ray_cluster import stages
from tests.ray_cluster.cluster import SCRIPT, Cluster
from tests.ray_cluster.stages import SFT
from tests.training.pair import EVALUATION, nothing
from tests.training.test_in_processes import RL_NAMES, SFT_NAMES, same

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` isn't installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, for tests that leave both running."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as one:
        one.grow()
        yield one


@pytest.fixture
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, for a test that kills them."""
    with Cluster(tmp_path_factory.mktemp("doomed")) as one:
        one.grow()
        yield one


def on(cluster: Cluster, **settings: Any) -> RayLauncher:
    return RayLauncher(address=cluster.address, gpus_per_worker=0, **{"workers": 2, "wait_seconds": 0, **settings})


@pytest.fixture(scope="module")
def start(world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train_sft(world_windows, world_catalog, TINY, SFT, tmp_path_factory.mktemp("start"), log=nothing)


@pytest.fixture(scope="module")
def untroubled(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """RL in one process, without a kill."""
    place = tmp_path_factory.mktemp("untroubled")
    return train_rl(start, world_windows, world_catalog, stages.UNTROUBLED, place, log=nothing)


def test_every_stage_on_two_nodes_has_the_result_of_one_process(
    cluster: Cluster,
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = world_windows, world_catalog
    world_windows.save(tmp_path / "windows")
    world_catalog.save(tmp_path / "catalog")
    records = []
    worker, spec = "tests.ray_cluster.stages:every_stage", {"place": str(tmp_path)}
    on(cluster).launch(worker, spec, tmp_path / "work", lambda record, _: records.append(record))
    assert len(set((tmp_path / "nodes.txt").read_text().splitlines())) == 2  # each on a node of its own
    same(Checkpoint(tmp_path / "sft" / "model"), start, SFT_NAMES)
    losses = [record["valid_loss"] for record in start.curves() if "valid_loss" in record]
    assert [record["valid_loss"] for record in records if "valid_loss" in record] == pytest.approx(losses, rel=2e-4)
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stages")]
    assert "2/2" in shown[-1]
    again = Checkpoint(tmp_path / "sft" / "model")  # the same start, to the bit
    one = train_rl(again, *world, stages.PLAIN, tmp_path / "rl-one", log=nothing)
    same(Checkpoint(tmp_path / "rl" / "model"), one, RL_NAMES)
    one = train_preference(again, *world, stages.PREFERENCE, tmp_path / "preference-one", log=nothing)
    same(Checkpoint(tmp_path / "preference" / "model"), one, ("loss", "margin", "preferred", "valid_ndcg@10"))
    table = evaluate_checkpoints({"start": again}, *world, EVALUATION, tmp_path)
    found = pd.read_parquet(tmp_path / "results.parquet")
    assert [items.tolist() for items in found["items"]] == table["items"].tolist()
    np.testing.assert_allclose(np.stack(list(found["scores"])), np.stack(list(table["scores"])), rtol=1e-5)


def test_a_users_mistake_ends_the_stage_in_its_own_words(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(RereError) as caught:
        on(cluster).launch("tests.ray_cluster.stages:mistake", {}, tmp_path)
    assert caught.value.parts == ("finite rewards", "values that are not finite", "mend the function")
    assert "A worker was lost" not in (tmp_path / "processes.log").read_text()


@pytest.fixture
def rl(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, RayLauncher], tuple[Checkpoint, list[int]]]:
    """Trains with a reward of tests/ray_cluster/stages.py; gives the result, and the updates that were told."""
    (tmp_path / ".rere").mkdir()  # a project: rewards are looked for in one
    monkeypatch.chdir(tmp_path)

    def train(reward: str, launcher: RayLauncher) -> tuple[Checkpoint, list[int]]:
        updates: list[int] = []
        config: RLConfig = stages.asked(reward).model_copy(update={"launcher": launcher})
        place = tmp_path / "rl"
        done = train_rl(start, world_windows, world_catalog, config, place, log=lambda _, now: updates.append(now))
        return done, updates

    return train


def test_a_killed_worker_is_replaced_and_goes_on_from_the_checkpoint(
    cluster: Cluster, rl: Any, untroubled: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    done, updates = rl("deadly", on(cluster))
    assert updates == [0, 1, 2, 3, 4]  # the third was begun twice: the checkpoint is of the second
    same(done, untroubled, RL_NAMES)
    assert "A worker was lost" in capsys.readouterr().err


def killed_when_stuck(nodes: list[Any], workers: int) -> threading.Thread:
    """Kills nodes when the workers wait in their third update; the current directory is the workers'."""
    marks = [Path(f"stuck-{rank}").resolve() for rank in range(workers)]

    def wait() -> None:
        until(lambda: all(mark.exists() for mark in marks))
        for node in nodes:
            node.kill()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_killed_node_is_done_without_and_a_killed_head_needs_a_rerun(
    doomed: Cluster, rl: Any, untroubled: Checkpoint, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    killer = killed_when_stuck(doomed.nodes[1:], workers=2)
    done, updates = rl("stuck", on(doomed, min_workers=1))
    killer.join()
    assert updates == [0, 1, 2, 3, 4]
    same(done, untroubled, RL_NAMES)

    for left in (*tmp_path.glob("stuck-*"), tmp_path / "rl"):
        left.rename(left.with_name(f"first-{left.name}"))
    killer = killed_when_stuck(doomed.nodes[:1], workers=1)
    with pytest.raises(RereError) as caught:
        rl("stuck", on(doomed, workers=1))
    killer.join()
    assert str(caught.value).startswith(f"Expected the Ray cluster's head at {doomed.address} to live")
    assert "start the cluster; then run again: a training goes on from its last checkpoint" in str(caught.value)
    with Cluster(tmp_path_factory.mktemp("another")) as another:
        done, updates = rl("stuck", on(another, workers=1))
    assert updates == [3, 4]
    same(done, untroubled, RL_NAMES)


def test_another_version_of_ray_is_refused(tmp_path: Path) -> None:
    pretend = f"import ray, runpy; ray.__version__ = '2.59.0'; runpy.run_path({SCRIPT!r}, run_name='__main__')"
    start = sys.executable, "-c", pretend, "start"
    told = r"a cluster of Ray 2\.\d+\.\d+ and Python .*Ray: 2\.59\.0"
    with Cluster(tmp_path, start) as other, pytest.raises(RereError, match=told):
        on(other, workers=1).check()


def test_too_few_resources_are_told_before_anything_starts(cluster: Cluster) -> None:
    with pytest.raises(RereError, match="room for 3 Ray workers with 1 CPU each; got room for"):
        on(cluster, workers=3).check()


def test_a_bad_address_is_told_at_once(world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path) -> None:
    nobody = RayLauncher(address="127.0.0.1:1", workers=2)
    config = SFTConfig(distillation=None, normalisation="vocab", launcher=nobody)
    with pytest.raises(RereError, match=r"the head of a Ray cluster at 127\.0\.0\.1:1; got .*Connection refused"):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=nothing)
