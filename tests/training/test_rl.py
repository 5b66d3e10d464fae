"""Reinforcement learning: that it raises the reward it is given, keeps the best, resumes, and adapts by LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import CollaborativeEmbedding, IndexConfig
from rere.config.decoding import Normalisation
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.config.training import LoRA
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint
from rere.recommenders.base import Ranking
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.popularity import Popularity
from rere.training.checkpoint import Reference, load_progress, save_progress, snapshot
from rere.training.loop import SCORE
from rere.training.rl.advantages.unscaled import Unscaled
from rere.training.rl.group import Group
from rere.training.rl.losses.dapo import DAPO
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.gspo import GSPO
from rere.training.rl.losses.mpo import MPO
from rere.training.rl.rewards.collaborative import CollaborativeReward
from rere.training.rl.rewards.custom import CustomReward
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.rewards.semantic import SemanticReward
from rere.training.rl.samplers.base import Sampler
from rere.training.rl.samplers.beam import BeamSampler
from rere.training.rl.samplers.dynamic import DynamicSampler
from rere.training.rl.samplers.multinomial import MultinomialSampler
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.oracles import embedding_of, head_of
from tests.training.killed import Killed, killed_in_update

QUICK = RLConfig(  # the paper's choices, small
    num_generations=4,
    prompts=16,
    device_batch_prompts=8,
    updates=6,
    learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
    rewards=(RuleReward(), RankingReward()),
    loss=GRPO(),
    ground_truth="off",
    normalisation="vocab",
)


@pytest.fixture(scope="module")
def adept(world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model with much to lose."""
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=15, learning_rate=1e-2, batch_tokens=64, sequence_items=8
    )
    return train_sft(world_windows, world_catalog, TINY, config, tmp_path_factory.mktemp("adept"), log=lambda *_: None)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_reward_and_validation_rise(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, normalisation: Normalisation
) -> None:
    config = QUICK.model_copy(
        update={"updates": 40, "epochs": 5, "validate_every": 20, "normalisation": normalisation, "learning_rate": 5e-3}
    )
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    curves = [record for record in checkpoint.curves() if "reward" in record]
    assert len(curves) == 40
    early, late = (sum(record["groups_with_hit"] for record in part) for part in (curves[:8], curves[-8:]))
    assert late > early
    facts = checkpoint.facts()
    assert facts["best_" + SCORE] > facts["start_" + SCORE]


def test_a_policy_that_only_gets_worse_leaves_the_start(
    adept: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"learning_rate": 0.1})  # ruins the model at once
    checkpoint = train_rl(adept, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    assert checkpoint.facts()["best_update"] == 0
    assert (
        min(record[SCORE] for record in checkpoint.curves() if SCORE in record) < checkpoint.facts()["start_" + SCORE]
    )
    for name, weight in adept.load_model().state_dict().items():
        torch.testing.assert_close(checkpoint.load_model().state_dict()[name], weight)


def test_the_learning_rate_follows_its_schedule(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    settings = {"lr_scheduler_type": "linear", "warmup_steps": 2, "updates": 6, "num_generations": 2, "prompts": 4}
    config = RLConfig.model_validate({**QUICK.model_dump(), **settings})
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    rates = [record["learning_rate"] / config.learning_rate for record in checkpoint.curves()[1:]]
    assert rates == pytest.approx([0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4])


def test_divergence_is_a_clear_error(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(RereError, match="lower the learning rate"):
        train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)


def test_a_killed_run_resumes_and_ends_where_it_would_have(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = train_rl(start, world_windows, world_catalog, QUICK, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_rl(start, world_windows, world_catalog, QUICK, tmp_path / "killed", log=killed_in_update(5))
    updates = []
    again = train_rl(
        start,
        world_windows,
        world_catalog,
        QUICK,
        tmp_path / "killed",
        log=lambda metrics, update: updates.append(update),
    )
    assert updates == [5, 6]  # from the checkpoint of update 4
    for name, weight in whole.load_model().state_dict().items():
        torch.testing.assert_close(again.load_model().state_dict()[name], weight)
    keys = ("update", "reward", "kl", "groups_with_hit", "seen_ndcg@10", "seen_gain_error", "unseen_gain_error")
    assert all(key in whole.curves()[-1] for key in keys)
    assert [[r.get(k) for k in keys] for r in whole.curves()] == [[r.get(k) for k in keys] for r in again.curves()]


@pytest.mark.parametrize("sampling", [MultinomialSampler(), DynamicSampler()])
def test_sampled_candidates_train_and_are_reproducible(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, sampling: Sampler
) -> None:
    config = QUICK.model_copy(update={"sampling": sampling, "updates": 3})
    first, again = (
        train_rl(start, world_windows, world_catalog, config, tmp_path / name, log=lambda *_: None) for name in "ab"
    )
    assert sum(record.get("gradient_norm", 0) for record in first.curves()) > 0
    for name, weight in first.load_model().state_dict().items():
        torch.testing.assert_close(again.load_model().state_dict()[name], weight)


def teacher_of(windows: Windows, catalog: CatalogIndex) -> Popularity:
    targets = [catalog.index_of[item] for item in windows.of("train")["target"]]
    return Popularity.fit([np.array(targets)], len(catalog.item_ids))


@pytest.mark.parametrize(
    "choice",
    [
        {"rewards": (RankingReward(),)},
        {"rewards": (RuleReward(), SemanticReward(weight=0.5))},
        {"rewards": (SemanticReward(embedding=CollaborativeEmbedding(dimensions=8)),)},
        {"rewards": (CollaborativeReward(),)},
        {"rewards": (RuleReward(), CollaborativeReward(scale="log")), "loss": MPO()},
        {"loss": DAPO()},
        {"loss": GSPO()},
        {"advantage": Unscaled()},
        {"ground_truth": "add"},
    ],
    ids=lambda choice: "-".join(choice) + "-" + str(choice.get("loss", "")),
)
def test_every_choice_trains_from_its_setting(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, choice: dict[str, Any]
) -> None:
    config = RLConfig.model_validate(QUICK.model_copy(update={"updates": 2, "keep": "last", **choice}).model_dump())
    teacher = teacher_of(world_windows, world_catalog)
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None, teacher=teacher)
    records = [record for record in checkpoint.curves() if "reward" in record]
    assert all(record["gradient_norm"] > 0 and record["invalid"] == 0 for record in records)
    before, after = start.load_model().state_dict(), checkpoint.load_model().state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_truth_gives_every_group_a_signal(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    silent = {}
    for choice in ("off", "add"):
        config = QUICK.model_copy(update={"ground_truth": choice, "updates": 2, "rewards": (RuleReward(),)})
        checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path / choice, log=lambda *_: None)
        records = [record for record in checkpoint.curves() if "reward" in record]
        silent[choice] = [record["frac_reward_zero_std"] for record in records]
        assert all(record["groups_with_hit"] < 1 for record in records)  # hits are counted before the truth is added
    assert all(share > 0 for share in silent["off"])
    assert silent["add"] == [0, 0]


def test_mpo_learns_its_teacher(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    """Rewards that name one item alone: the policy must come to put it first, whatever the history."""

    class Star:
        name = "star"

        def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
            order = np.roll(np.arange(k), -7)
            scores = np.where(order == 7, 0.0, -20.0).astype(np.float32)
            return Ranking(np.tile(order, (len(histories), 1)), np.tile(scores, (len(histories), 1)))

    config = QUICK.model_copy(
        update={
            "num_generations": 24,
            "rewards": (CollaborativeReward(scale="log"),),
            "loss": MPO(),
            "keep": "last",
            "beta": 0.0,
        }
        | {"updates": 30, "epochs": 5, "learning_rate": 1e-2, "validate_every": 30}
    )
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None, teacher=Star())
    ranked = GenerativeRecommender("ReRe", checkpoint.path, world_catalog).recommend([[0], [3, 4], [10, 11, 12]], 1)
    assert ranked.items[:, 0].tolist() == [7, 7, 7]


def test_a_collaborative_reward_needs_its_teacher(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"rewards": (CollaborativeReward(),)})
    with pytest.raises(RereError, match="item model"):
        train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)


@pytest.mark.parametrize("sampling", [BeamSampler(), MultinomialSampler()])
def test_unconstrained_generation_trains_and_counts_what_is_no_item(
    world_windows: Windows, world_items: pd.DataFrame, tmp_path: Path, sampling: Sampler
) -> None:
    catalog = build_index(world_items, IndexConfig(backbone=TINY, code=TitleCode()))
    sft = SFTConfig(
        distillation=None, normalisation="vocab", epochs=1, learning_rate=3e-3, batch_tokens=64, sequence_items=8
    )
    start = train_sft(world_windows, catalog, TINY, sft, tmp_path / "sft", log=lambda *_: None)
    config = QUICK.model_copy(
        update={"generation": "unconstrained", "sampling": sampling, "updates": 2, "rewards": (SemanticReward(),)}
    )
    checkpoint = train_rl(start, world_windows, catalog, config, tmp_path / "rl", log=lambda *_: None)
    records = [record for record in checkpoint.curves() if "reward" in record]
    assert all(0 < record["invalid"] <= 1 for record in records)
    assert all(
        (record["duplicate"] > 0) == isinstance(sampling, MultinomialSampler) or record["duplicate"] == 0
        for record in records
    )


@pytest.mark.parametrize(
    "wrong", [{"normalisation": "trie"}, {"ground_truth": "add"}, {"sampling": {"type": "dynamic"}}]
)
def test_unconstrained_generation_refuses_what_it_cannot_mean(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unconstrained generation goes with"):
        RLConfig.model_validate({"generation": "unconstrained", **wrong})


def test_unconstrained_generation_needs_items_with_an_end(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"generation": "unconstrained"})
    with pytest.raises(RereError, match="code: title"):
        train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)


def test_no_epochs_leave_the_base_model(world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path) -> None:
    base = train_sft(
        world_windows,
        world_catalog,
        TINY,
        SFTConfig(distillation=None, epochs=0),
        tmp_path / "sft",
        log=lambda *_: None,
    )
    fresh = load_model(TINY, len(world_catalog.tokenizer), 0).state_dict()
    assert all(torch.equal(weight, fresh[name]) for name, weight in base.load_model().state_dict().items())
    tuned = train_rl(base, world_windows, world_catalog, QUICK, tmp_path / "rl", log=lambda *_: None)
    assert tuned.facts()["updates"] == QUICK.updates


def test_lora_trains_adapters_only_and_merges(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"adaptation": LoRA(rank=2), "keep": "last", "updates": 2})
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    before, after = start.load_model().state_dict(), checkpoint.load_model().state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("norm" in name or "embed" in name for name in changed)


def test_the_reference_is_another_model_only_within_its_context() -> None:
    model = torch.nn.Linear(2, 2)
    reference = Reference(model)
    frozen = snapshot(model)
    with torch.no_grad():
        model.weight.add_(1.0)
    with reference.in_place():
        assert torch.equal(model.weight, frozen["weight"])
        assert not torch.is_grad_enabled()
    assert torch.equal(model.weight, frozen["weight"] + 1)
    reference.sync(0.25)
    torch.testing.assert_close(reference.weights["weight"], frozen["weight"] + 0.25)


def test_an_optimiser_comes_back_from_plain_files(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5**step)
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    schedule.step()
    random = torch.get_rng_state()
    state = {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "random": random}
    save_progress(tmp_path / "progress", {"policy": snapshot(model)}, {"update": 1}, state)
    assert {path.suffix for path in (tmp_path / "progress").iterdir()} == {".safetensors", ".json"}
    saved = load_progress(tmp_path / "progress", torch.device("cpu"))
    assert saved is not None
    weights, _, back = saved
    assert weights.keys() == {"policy"}
    assert torch.equal(back["random"], random)
    again = torch.optim.AdamW(model.parameters(), lr=9.0)
    again.load_state_dict(back["optimiser"])
    assert again.param_groups[0]["lr"] == 0.05
    for weight in model.parameters():
        assert again.state[weight].keys() == optimiser.state[weight].keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, tensor in optimiser.state[weight].items():
            assert torch.equal(again.state[weight][name], tensor)
    follows = torch.optim.lr_scheduler.LambdaLR(again, lambda step: 0.5**step)
    follows.load_state_dict(back["schedule"])
    assert follows.state_dict()["last_epoch"] == 1


def test_progress_survives_a_kill_between_the_renames(tmp_path: Path) -> None:
    directory = tmp_path / "progress"
    for update in (1, 2):
        save_progress(directory, {"policy": {"w": torch.full((2,), float(update))}}, {"update": update}, {})
    directory.rename(tmp_path / "progress.old")  # the kill came after the old one was moved away
    saved = load_progress(directory, torch.device("cpu"))
    assert saved is not None
    weights, facts, _ = saved
    assert facts["update"] == 2
    assert weights["policy"]["w"].tolist() == [2.0, 2.0]


SEEN: list[Group] = []


def looks_around(group: Group) -> torch.Tensor:
    """A user's reward that keeps what it was shown."""
    SEEN.append(group)
    return group.hits.float()


def test_a_custom_reward_is_shown_the_rows_as_they_are(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    SEEN.clear()
    reward = CustomReward(path=f"{__name__}:looks_around")
    config = QUICK.model_copy(update={"updates": 1, "rewards": (reward,), "ground_truth": "add"})
    train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    train = world_windows.of("train")
    by_row = train.set_index("row_id")
    counts = train["target"].value_counts()
    groups = [group for group in SEEN if group.row_ids != [0, 1]]  # not the trial
    assert sum(len(group.row_ids) for group in groups) == QUICK.prompts
    for group in groups:
        rows = by_row.loc[list(group.row_ids)]
        assert group.target_ids == rows["target"].tolist()
        assert group.history_ids == [list(history) for history in rows["history"]]
        for prompt, target in enumerate(group.target_ids):
            assert target in group.item_ids[prompt]  # it was added
            assert group.popularity[prompt].tolist() == [int(counts.get(item, 0)) for item in group.item_ids[prompt]]


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"]])
def test_adapters_of_tied_embeddings_are_stored_as_they_were_trained(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, targets: list[str] | str
) -> None:
    """Saving holds the stored model against the trained one; here, that the head and the embedding part."""
    lora = LoRA(rank=2, dropout=0.0, targets=targets)
    config = QUICK.model_copy(update={"adaptation": lora, "updates": 4, "learning_rate": 1e-2, "keep": "last"})
    kept = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    model, before = kept.load_model(), start.load_model()
    assert head_of(model) is not embedding_of(model)
    assert not torch.equal(head_of(model), embedding_of(model))
    assert torch.equal(head_of(before), embedding_of(before))
