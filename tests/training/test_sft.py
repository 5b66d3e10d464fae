"""Supervised fine-tuning: its rows, its masks, that it learns, and that a killed run resumes."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import TrainerControl, TrainerState
from trl import SFTConfig as TRLConfig

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig
from rere.config.sft import SFTConfig
from rere.config.training import LoRA
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.probe import probe
from rere.models.trunks import HEAD
from rere.recommenders.generative import GenerativeRecommender
from rere.runtime.progress import progress
from rere.training.rows import IGNORED, Collator, sequence_rows, window_rows
from rere.training.sft import callbacks
from rere.training.sft.inputs import arguments
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.training.killed import Killed, killed_after_epoch
from tests.training.test_check import saved

QUICK = SFTConfig(
    distillation=None, normalisation="vocab", epochs=3, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)


def trained_targets(rows: Iterable[dict[str, list[int]]]) -> list[int]:
    """How often each token sequence of consecutive labels is trained, as a flat count of tokens."""
    return sorted(label for row in rows for label in row["labels"] if label != IGNORED)


def test_sequences_train_the_very_targets_of_the_windows(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    train = world_windows.of("train")
    windows = list(window_rows(train, world_catalog))
    for sequence_items in (6, 8, 50):
        sequences = list(sequence_rows(train, world_catalog, world_windows.history_items, sequence_items))
        assert trained_targets(sequences) == trained_targets(windows)
        assert len(sequences) < len(windows)


def test_windows_that_do_not_follow_from_one_another_are_not_joined(
    world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    train = world_windows.of("train").sample(frac=0.5, random_state=0).sort_index()  # holes
    sequences = list(sequence_rows(train, world_catalog, world_windows.history_items, 8))
    assert trained_targets(sequences) == trained_targets(window_rows(train, world_catalog))


def test_a_token_sees_the_head_its_own_item_and_the_last_items_only(
    world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    rows = list(sequence_rows(world_windows.of("train"), world_catalog, 3, 10))[:4]
    batch = Collator(pad=0, history_items=3)(rows)
    for place, row in enumerate(rows):
        owner, mask = row["owner"], batch["attention_mask"][place, 0]
        for query in range(len(owner)):
            for key in range(mask.shape[1]):
                near = key <= query and (owner[key] == HEAD or owner[query] - owner[key] <= 3)
                assert bool(mask[query, key]) == near
    assert batch["attention_mask"].any(-1).all()  # padding sees itself, so no softmax is over nothing


@pytest.mark.parametrize("rows", ["window", "sequence"])
def test_training_learns_the_next_item(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, rows: str
) -> None:
    seen = []
    config = QUICK.model_copy(update={"rows": rows, "epochs": 30})
    checkpoint = train_sft(
        world_windows, world_catalog, TINY, config, tmp_path, log=lambda metrics, update: seen.append((update, metrics))
    )
    losses = [record["valid_loss"] for record in checkpoint.curves() if "valid_loss" in record]
    assert losses[-1] < 0.7 * losses[0]
    assert any("train_loss" in metrics for _, metrics in seen)
    test = world_windows.of("test")
    histories = [[world_catalog.index_of[item] for item in history] for history in test["history"]]
    ranking = GenerativeRecommender("sft", checkpoint.path, world_catalog).recommend(histories, 2)
    targets = [world_catalog.index_of[item] for item in test["target"]]
    hits = sum(target in row for target, row in zip(targets, ranking.items.tolist(), strict=True))
    assert hits > 30  # of 60; chance is 2 in 24, which makes 5; 47 to 57 over four seeds


@pytest.mark.parametrize("validations", [1, 2])
def test_a_killed_run_resumes_and_ends_where_it_would_have(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, validations: int
) -> None:
    """With two validations per epoch it goes on in the middle of the second epoch."""
    config = QUICK.model_copy(update={"validations_per_epoch": validations})
    whole = train_sft(world_windows, world_catalog, TINY, config, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path / "killed", log=killed_after_epoch(2))
    cut = max((tmp_path / "killed" / "checkpoints").glob("checkpoint-*"))
    resumed_from = []
    again = train_sft(
        world_windows,
        world_catalog,
        TINY,
        config,
        tmp_path / "killed",
        log=lambda metrics, update: resumed_from.append(update),
    )
    assert min(resumed_from) > int(cut.name.rpartition("-")[2]) - 1
    expected, found = (checkpoint.load_model().state_dict() for checkpoint in (whole, again))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight)


def test_validations_are_at_equal_distances(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"validations_per_epoch": 3, "epochs": 2})
    checkpoint = train_sft(world_windows, world_catalog, TINY, config, tmp_path / "whole", log=lambda *_: None)
    updates = checkpoint.facts()["updates"]
    validated = [record["update"] for record in checkpoint.curves() if "valid_loss" in record]
    assert validated == [round(updates / 6 * part) for part in range(1, 7)]


@pytest.mark.parametrize(("steps", "validates"), [([1, 2], True), ([1, 2, 3], False)])
def test_an_epoch_that_patience_ended_is_not_judged_twice(steps: list[int], validates: bool) -> None:
    state = TrainerState(global_step=3, log_history=[{"loss": 1.0, "step": 3}])
    state.log_history += [{"eval_loss": 1.0, "step": step} for step in steps]
    control = TrainerControl(should_evaluate=True, should_save=True)  # as the trainer has it at an epoch's end
    callbacks.Validations(2).on_epoch_end(None, state, control)
    assert (control.should_evaluate, control.should_save) == (validates, validates)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup"])
def test_the_learning_rate_follows_its_schedule(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, schedule: str
) -> None:
    """By hand: after 4 updates of warm-up, from 1 to 0 over the others."""
    own = {"lr_scheduler_type": schedule, "warmup_steps": 4, "epochs": 2}
    config = SFTConfig.model_validate({**QUICK.model_dump(), **own})
    checkpoint = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    updates = checkpoint.facts()["updates"]
    falls: dict[str, Callable[[float], float]] = {
        "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
        "linear": lambda share: 1 - share,
        "constant_with_warmup": lambda share: 1.0,
    }
    rates = {record["update"]: record["learning_rate"] for record in checkpoint.curves() if "learning_rate" in record}
    assert max(rates) > 10
    for update, rate in rates.items():
        done = update - 1  # the rate of an update is that after those before it
        expected = done / 4 if done < 4 else falls[schedule]((done - 4) / (updates - 4))
        assert rate == pytest.approx(QUICK.learning_rate * expected, abs=1e-9)


@pytest.mark.parametrize("kept", [1000.0, None], ids=["counted", "before there were clocks"])
def test_seconds_are_those_of_all_processes(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, kept: float | None
) -> None:
    began = time.perf_counter()
    with pytest.raises(Killed):
        train_sft(world_windows, world_catalog, TINY, QUICK, tmp_path, log=killed_after_epoch(2))
    [place] = (tmp_path / "checkpoints").glob("checkpoint-*/trainer_state.json")
    left = json.loads(place.read_text())
    clock = left["stateful_callbacks"].pop("Clock")
    assert 0 < clock["attributes"]["seconds"] < time.perf_counter() - began
    if kept is not None:
        clock["attributes"]["seconds"] = kept
        left["stateful_callbacks"]["Clock"] = clock
    place.write_text(json.dumps(left))
    began = time.perf_counter()
    resumed = train_sft(world_windows, world_catalog, TINY, QUICK, tmp_path, log=lambda *_: None)
    own = resumed.facts()["seconds"] - (kept or 0.0)
    assert 0 < own < time.perf_counter() - began + 0.1  # rounded to tenths


def test_a_log_shows_where_a_resumed_run_begins_and_ends(
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def kill(metrics: dict[str, float], update: int) -> None:
        if "valid_loss" in metrics and metrics["epoch"] >= 2:
            raise KeyboardInterrupt

    def shown(**options: Any) -> Any:  # whatever TQDM_DISABLE says
        return progress(**options, disable=False)

    monkeypatch.setattr(callbacks, "progress", shown)
    with pytest.raises(KeyboardInterrupt):
        train_sft(world_windows, world_catalog, TINY, QUICK, tmp_path, log=kill)
    capsys.readouterr()
    train_sft(world_windows, world_catalog, TINY, QUICK, tmp_path, log=lambda *_: None)
    log = capsys.readouterr().err
    counts = [tuple(map(int, found)) for found in re.findall(r"sft: .*\| (\d+)/(\d+) ", log)]
    total = counts[0][1]
    assert counts == [(total // 3, total), (total, total)]  # the checkpoint of the first epoch of three


def test_lora_is_merged_into_a_plain_model(world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"epochs": 1, "adaptation": LoRA(rank=2)})
    checkpoint = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    names = list(checkpoint.load_model().state_dict())
    assert not any("lora" in name for name in names)
    assert not list(checkpoint.path.glob("*.bin"))


@pytest.mark.parametrize("targets", [["embed_tokens"], ["embed_tokens", "q_proj"], ".*embed.*"])
def test_adapters_of_tied_embeddings_are_stored_as_they_were_trained(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, targets: list[str] | str
) -> None:
    lora = LoRA(rank=4, dropout=0.0, targets=targets)
    config = QUICK.model_copy(update={"epochs": 2, "adaptation": lora, "learning_rate": 3e-2})
    checkpoint = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    model, losses, tokens = checkpoint.load_model().cpu(), 0.0, 0
    for row in window_rows(world_windows.of("valid"), world_catalog):
        labels = torch.tensor(row["labels"])[1:]
        logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        losses += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
        tokens += int((labels != IGNORED).sum())
    assert losses / tokens == pytest.approx(checkpoint.facts()["best_valid_loss"], abs=0.02)  # a mean of batches' means
    trained = [record["valid_loss"] for record in checkpoint.curves() if "valid_loss" in record]
    assert trained[-1] < trained[0]


def test_a_stored_model_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    trained, other = (load_model(TINY, 300, seed=seed).eval() for seed in (0, 1))
    with pytest.raises(RereError, match="answers differ by"):
        save_checkpoint(other, tmp_path / "model", [], {}, trained=probe(trained))
    with pytest.raises(RereError, match="half-written"):
        Checkpoint(tmp_path / "model").verify()


def test_a_training_that_explodes_ends_early_and_says_what_to_do(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"learning_rate": 100.0, "epochs": 50})
    with pytest.raises(RereError, match=r"guessing among all tokens.*update \d+\. .*sft\.learning_rate"):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)


@pytest.mark.parametrize("logs", [{"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}, {"eval_loss": 20.0}])
def test_what_counts_as_exploding(logs: dict[str, float]) -> None:
    watch = callbacks.Divergence(vocabulary=1000)
    watch.on_log(None, TrainerState(global_step=3), None, {"loss": 7.5, "grad_norm": 3.0, "learning_rate": 0.1})
    with pytest.raises(RereError, match="at update 3"):
        watch.on_log(None, TrainerState(global_step=3), None, logs)


def test_an_architecture_that_cannot_be_searched_is_refused_before_training(
    world_windows: Windows, world_items: pd.DataFrame, tmp_path: Path
) -> None:
    backbone = LocalModel(path=saved(tmp_path / "bloom", "bloom"))
    catalog, seen = build_index(world_items, IndexConfig(code=PrefixCode(), backbone=backbone)), []
    with pytest.raises(RereError, match="use another architecture"):
        train_sft(world_windows, catalog, backbone, QUICK, tmp_path, log=lambda *record: seen.append(record))
    assert seen == []


@pytest.mark.parametrize("name", ["opt", "gemma2", "mistral"])
@pytest.mark.parametrize("rows", ["window", "sequence"])
def test_other_architectures_train_too(
    world_windows: Windows, world_items: pd.DataFrame, tmp_path: Path, name: str, rows: str
) -> None:
    """Also by a tokenizer without a padding token."""
    backbone = LocalModel(path=saved(tmp_path / "backbone", name, eos_token="<end>"))
    catalog = build_index(world_items, IndexConfig(code=PrefixCode(), backbone=backbone))
    config = QUICK.model_copy(update={"rows": rows, "epochs": 2, "learning_rate": 3e-3})
    checkpoint = train_sft(world_windows, catalog, backbone, config, tmp_path, log=lambda *_: None)
    losses = [record["valid_loss"] for record in checkpoint.curves() if "valid_loss" in record]
    assert losses[-1] < losses[0]


def test_a_finished_result_is_not_trained_again(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"epochs": 1})
    first = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    stamp = (first.path / "manifest.json").stat().st_mtime_ns

    def never(metrics: dict[str, float], update: int) -> None:
        raise AssertionError("trained again")

    again = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=never)
    assert isinstance(again, Checkpoint)
    assert (again.path / "manifest.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("losses", "stops"), [([3, 2, 2.1], False), ([3, 2, 2.1, 2], True), ([3, 2, 2.1, 1.9], False)])
def test_patience_is_counted_from_the_log_that_a_resumed_training_finds(losses: list[float], stops: bool) -> None:
    state, control = TrainerState(log_history=[{"loss": 1.0}]), TrainerControl()
    state.log_history += [{"eval_loss": loss} for loss in losses]
    callbacks.Patience(2).on_evaluate(None, state, control)
    assert control.should_training_stop is stops


def test_the_trainers_dictionaries_are_not_printed(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SFTConfig(distillation=None, normalisation="vocab", epochs=1, batch_tokens=64, sequence_items=8)
    train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    shown = capsys.readouterr()
    assert "{'" not in shown.out + shown.err


def test_tied_weights_are_not_said_to_be_missing(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SFTConfig(distillation=None, normalisation="vocab", epochs=1, batch_tokens=64, sequence_items=8)
    trainers = logging.getLogger("transformers.trainer")
    trainers.addHandler(caplog.handler)
    try:
        train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    finally:
        trainers.removeHandler(caplog.handler)
    assert "missing keys" not in caplog.text


def test_one_process_trains_on_one_gpu_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRLConfig, "n_gpu", property(lambda self: 4))
    found = arguments(QUICK, rows=100, targets=1000, output=tmp_path)
    assert found.n_gpu == 1
    assert found.train_batch_size == found.per_device_train_batch_size
