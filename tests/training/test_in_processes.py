"""Two processes (gloo, by torchrun) against one: the same curves, weights and lists; checkpoints of either go on in the
other; what happens when a process or the parent is killed.

Tolerances: sums over rows are made in another order, so float32 values differ by rounding, which updates amplify.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from infra.patience import until
from rere.catalog.index import CatalogIndex
from rere.catalog.warm_start import continue_index
from rere.config.sft import SFTConfig
from rere.config.training import LoRA
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.models.checkpoint import Checkpoint
from rere.recommenders.item_model import FitData
from rere.recommenders.sequential.base import SequentialRecommender
from rere.recommenders.sequential.sasrec import SASRec, SASRecConfig
from rere.runtime.launchers.local import LocalLauncher
from rere.training.checkpoint import load_progress
from rere.training.rl.losses.registry import LOSSES
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY, WORLD_ITEMS, a_gpu_each
from tests.training import pair
from tests.training.killed import Killed, killed_after_epoch, killed_in_update

pytestmark = a_gpu_each
TWO = LocalLauncher(processes=2)
CURVE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}
WEIGHTS: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def teacher(world_windows: Windows, world_catalog: CatalogIndex) -> SequentialRecommender:
    rows = world_windows.of("train")
    sequences = [np.array([world_catalog.index_of[i] for i in own]) for _, own in rows.groupby("user_id")["target"]]
    histories = [[world_catalog.index_of[item] for item in history] for history in rows["history"]]
    targets = [world_catalog.index_of[item] for item in rows["target"]]
    small = SASRecConfig(layers=1, width=16, heads=1, epochs=1)
    return SASRec.fit(FitData(sequences, WORLD_ITEMS, histories, targets), small)


@pytest.fixture(scope="module")
def two(
    world_windows: Windows,
    world_catalog: CatalogIndex,
    teacher: SequentialRecommender,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Checkpoint, list[dict[str, Any]]]:
    """The directory in which two processes did all that they do in `pair.work`, and the records that came meanwhile."""
    place = tmp_path_factory.mktemp("two")
    world_windows.save(place / "windows")
    world_catalog.save(place / "catalog")
    teacher.save(place / "teacher")
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=1, learning_rate=3e-3, batch_tokens=64, sequence_items=8
    )
    start = train_sft(world_windows, world_catalog, TINY, config, place / "first", log=pair.nothing)
    start.path.rename(place / "start")
    with pytest.raises(Killed):
        train_sft(world_windows, world_catalog, TINY, pair.SFT, place / "sft-one-two", log=killed_after_epoch(2))
    start = type(start)(place / "start")
    with pytest.raises(Killed):
        train_rl(
            start,
            world_windows,
            world_catalog,
            pair.RL,
            place / "rl-one-two",
            log=killed_in_update(5),
            teacher=teacher,
        )
    records = []
    TWO.launch(
        "tests.training.pair:work",
        {"place": str(place)},
        place,
        lambda record, update: records.append({"update": update, **record}),
    )
    return place, start, records


def same(found: Checkpoint, expected: Checkpoint, names: Sequence[str]) -> None:
    """Curves and weights of two checkpoints are the same within the stated tolerances."""
    ours, theirs = (pd.DataFrame(checkpoint.curves()) for checkpoint in (found, expected))
    assert ours["update"].tolist() == theirs["update"].tolist()
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], **CURVE, err_msg=name)
    weights = expected.load_model().state_dict()
    for name, weight in found.load_model().state_dict().items():
        torch.testing.assert_close(weight, weights[name], **WEIGHTS)


SFT_NAMES = ("train_loss", "valid_loss", "gradient_norm", "learning_rate")
RL_NAMES = (
    *("loss", "reward", "kl", "groups_with_hit", "diversity", "gradient_norm", "valid_ndcg@10"),
    *("seen_ndcg@10", "unseen_ndcg@10", "seen_gain_error"),
)


@pytest.fixture(scope="module")
def one_sft(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    return train_sft(world_windows, world_catalog, TINY, pair.SFT, tmp_path_factory.mktemp("one"), log=pair.nothing)


def test_sft_has_the_curve_and_weights_of_one_process(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]], one_sft: Checkpoint
) -> None:
    place, _, records = two
    same(type(one_sft)(place / "sft" / "model"), one_sft, SFT_NAMES)
    heard = [record["valid_loss"] for record in records if "valid_loss" in record]  # relayed as they came
    assert heard == [r["valid_loss"] for r in type(one_sft)(place / "sft" / "model").curves() if "valid_loss" in r]


def test_sft_goes_on_with_another_number_of_processes(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    one_sft: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
) -> None:
    place, _, _ = two
    same(type(one_sft)(place / "sft-one-two" / "model"), one_sft, SFT_NAMES)
    updates = []
    again = train_sft(
        world_windows,
        world_catalog,
        TINY,
        pair.SFT,
        place / "sft-two-one",
        log=lambda _, update: updates.append(update),
    )
    assert min(updates) > max(r["update"] for r in one_sft.curves()) // 3  # from the checkpoint within the second epoch
    same(again, one_sft, SFT_NAMES)


@pytest.mark.parametrize("loss", [loss.type_name() for loss in LOSSES])
def test_rl_has_the_curve_and_weights_of_one_process(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    teacher: SequentialRecommender,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    loss: str,
) -> None:
    place, start, _ = two
    config = pair.with_loss(loss)
    one = train_rl(start, world_windows, world_catalog, config, tmp_path, log=pair.nothing, teacher=teacher)
    same(type(one)(place / loss / "model"), one, RL_NAMES)


def test_rl_by_sequence_has_the_curve_and_weights_of_one_process(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    teacher: SequentialRecommender,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
) -> None:
    place, start, _ = two
    one = train_rl(start, world_windows, world_catalog, pair.BY_SEQUENCE, tmp_path, log=pair.nothing, teacher=teacher)
    same(type(one)(place / "by-sequence" / "model"), one, RL_NAMES)


def test_rl_goes_on_with_another_number_of_processes(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    teacher: SequentialRecommender,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
) -> None:
    place, start, _ = two
    one = train_rl(start, world_windows, world_catalog, pair.RL, tmp_path, log=pair.nothing, teacher=teacher)
    same(type(one)(place / "rl-one-two" / "model"), one, RL_NAMES)
    updates = []
    again = train_rl(
        start,
        world_windows,
        world_catalog,
        pair.RL,
        place / "rl-two-one",
        log=lambda _, update: updates.append(update),
        teacher=teacher,
    )
    assert updates == [5, 6]  # from the checkpoint of update 4
    same(again, one, RL_NAMES)


def test_evaluation_gives_the_rows_of_one_process(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
) -> None:
    place, start, _ = two
    one = evaluate_checkpoints({"start": start}, world_windows, world_catalog, pair.EVALUATION, tmp_path)
    found = pd.read_parquet(place / "results.parquet")
    plain = [name for name in one if name not in ("items", "scores")]
    pd.testing.assert_frame_equal(found[plain], one[plain])
    assert [items.tolist() for items in found["items"]] == one["items"].tolist()
    np.testing.assert_allclose(np.stack(found["scores"].tolist()), np.stack(one["scores"].tolist()), rtol=1e-6)


def test_the_setting_starts_the_processes(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    one_sft: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
) -> None:
    _, start, _ = two
    config = pair.SFT.model_copy(update={"launcher": TWO})
    records = []
    tuned = train_sft(
        world_windows, world_catalog, TINY, config, tmp_path / "sft", log=lambda record, update: records.append(record)
    )
    same(tuned, one_sft, SFT_NAMES)
    assert [record["valid_loss"] for record in records if "valid_loss" in record] == [
        record["valid_loss"] for record in tuned.curves() if "valid_loss" in record
    ]
    models = {"start": start, "tuned": tuned}
    evaluation = pair.EVALUATION.model_copy(update={"launcher": TWO})
    found = evaluate_checkpoints(models, world_windows, world_catalog, evaluation, tmp_path / "evaluation")
    one = evaluate_checkpoints(models, world_windows, world_catalog, pair.EVALUATION, tmp_path)
    pd.testing.assert_frame_equal(found, one, rtol=1e-6)
    own = continue_index(world_catalog, world_catalog.items.iloc[:1:-1])  # two items less, another order
    asked = ({"start": start}, world_windows, world_catalog)
    found = evaluate_checkpoints(*asked, evaluation, tmp_path / "foreign", own=own)
    one = evaluate_checkpoints(*asked, pair.EVALUATION, tmp_path, own=own)
    pd.testing.assert_frame_equal(found, one, rtol=1e-6)
    assert not {0, 1} & {item for items in found["items"] for item in items}


def test_a_killed_process_ends_the_run_and_one_process_takes_over(
    two: tuple[Path, Checkpoint, list[dict[str, Any]]],
    teacher: SequentialRecommender,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
) -> None:
    _, start, _ = two
    config = pair.DEADLY.model_copy(update={"launcher": TWO})
    with pytest.raises(
        RereError, match=r"(?s)worker 1 killed by SIGKILL \(out of memory\?\).*goes on from its last checkpoint"
    ):
        train_rl(start, world_windows, world_catalog, config, tmp_path, log=pair.nothing, teacher=teacher)
    saved = load_progress(tmp_path / "progress", torch.device("cpu"))
    assert saved is not None
    assert saved[1]["update"] == 2
    updates = []
    train_rl(
        start,
        world_windows,
        world_catalog,
        config.as_one(),
        tmp_path,
        log=lambda _, update: updates.append(update),
        teacher=teacher,
    )
    assert updates == [3, 4, 5, 6]


def parent_of_two(task: str, place: Path, **variables: str) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from rere.runtime.launchers.local import LocalLauncher; "
        "task, place = sys.argv[1:]; "
        "LocalLauncher(processes=2).launch(f'tests.training.pair:{task}', {'place': place}, Path(place))"
    )
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen([sys.executable, "-c", code, task, str(place)], cwd=root, env={**os.environ, **variables})


def test_workers_share_the_threads_of_their_parent(tmp_path: Path) -> None:
    """A container's limit is in its OMP_NUM_THREADS: two workers with that many each would be twice what it has."""
    assert parent_of_two("threads", tmp_path, OMP_NUM_THREADS="2").wait() == 0
    assert [(tmp_path / f"{rank}.threads").read_text() for rank in (0, 1)] == ["1", "1"]


def test_nothing_is_left_behind_when_the_parent_is_killed(tmp_path: Path) -> None:
    parent = parent_of_two("sleep", tmp_path)
    try:
        until(lambda: len([one for one in tmp_path.glob("*.pid") if one.read_text()]) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
    until(lambda: not any(map(alive, workers)))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_progress_in_processes_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do("bar", tmp_path)
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("work")]
    assert len(shown) == 2  # start and end, of the first process only
    assert "30/30" in shown[1]


def do(task: str, place: Path) -> None:
    TWO.launch(f"tests.training.pair:{task}", {"place": str(place)}, place)


def test_processes_that_are_done_finish_whatever_happens_while_their_interpreter_goes_down(tmp_path: Path) -> None:
    do("finish", tmp_path)


def test_a_users_mistake_reaches_the_user_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(RereError) as caught:
        do("mistake", tmp_path)
    assert caught.value.parts == ("finite rewards", "values that are not finite", "mend the function")


def test_an_error_travels_between_processes_whole() -> None:
    found = pickle.loads(pickle.dumps(RereError("bread", "stones", "bake")))
    assert (found.parts, str(found)) == (("bread", "stones", "bake"), "Expected bread; got stones. Fix: bake")


def test_a_crash_is_shown_with_its_stack_and_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    with pytest.raises(RereError, match="worker 1 killed by SIGABRT") as caught:
        do("crash", tmp_path)
    assert "out of memory" not in str(caught.value)
    assert "Fatal Python error: Aborted" in str(caught.value)
    assert "in crash" in str(caught.value)


def test_shards_hold_the_whole_model(
    world_windows: Windows, world_catalog: CatalogIndex, one_sft: Checkpoint, tmp_path: Path
) -> None:
    world_windows.save(tmp_path / "windows")
    world_catalog.save(tmp_path / "catalog")
    for processes in (2, 1):
        launcher = LocalLauncher(processes=processes)
        launcher.launch("tests.training.pair:shards", {"place": str(tmp_path)}, tmp_path)
    for name in ("shards", "shards-two-one"):
        same(type(one_sft)(tmp_path / name / "model"), one_sft, SFT_NAMES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_shards_are_refused_without_gpus(world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path) -> None:
    config = pair.SFT.model_copy(update={"sharding": "fsdp", "launcher": TWO})
    with pytest.raises(RereError, match="GPUs for `sharding: fsdp`"):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=pair.nothing)


def test_shards_are_refused_for_adapters() -> None:
    with pytest.raises(ValueError, match="adaptation: full"):
        SFTConfig(distillation=None, normalisation="vocab", sharding="fsdp", adaptation=LoRA())
