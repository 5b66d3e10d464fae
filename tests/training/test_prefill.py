"""RL and preference training by sequence: which rows share a trunk, and that training by them is what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.preference import PreferenceConfig
from rere.config.rl import RLConfig
from rere.config.training import LoRA, Prefill, SequencePrefill, WindowPrefill
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.models.trunks import Trunks
from rere.training.loop import SCORE
from rere.training.preference.train import train_preference
from rere.training.prefill import PrefillGroups
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.mpo import MPO
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.samplers.dynamic import DynamicSampler
from rere.training.rl.train import train_rl
from rere.training.rows import Collator, sequence_rows
from tests.conftest import TINY
from tests.training.killed import Killed, killed_in_update

BY_SEQUENCE = SequencePrefill(prompts=5)
RL = RLConfig(
    num_generations=4,
    prompts=16,
    device_batch_prompts=8,
    updates=4,
    learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
    rewards=(RuleReward(), RankingReward()),
    loss=GRPO(),
    normalisation="vocab",
    keep="last",
    prefill=BY_SEQUENCE,
)
PREFERENCE = PreferenceConfig(
    prompts=16,
    device_batch_prompts=8,
    updates=4,
    learning_rate=2e-3,
    validate_every=2,
    checkpoint_every=2,
    prefill=BY_SEQUENCE,
)


def nothing(metrics: dict[str, float], update: int) -> None:
    pass


def groups_of(windows: Windows, catalog: CatalogIndex, prefill: Prefill) -> PrefillGroups:
    return PrefillGroups(windows, catalog, *indexed_rows(windows.of("train"), catalog.index_of), prefill)


def token_lists(prompts: Trunks) -> list[list[int]]:
    """What each prompt sees."""
    own = zip(prompts.source, prompts.lengths.tolist(), strict=True)
    return [prompts.tokens[source[:length]].tolist() for source, length in own]


def assert_same_weights(
    found: Checkpoint, expected: Checkpoint, rtol: float | None = None, atol: float | None = None
) -> None:
    weights = expected.load_model().state_dict()
    for name, weight in found.load_model().state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=rtol, atol=atol)


def test_an_epoch_by_windows_is_a_permutation_of_the_rows(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    groups = groups_of(world_windows, world_catalog, WindowPrefill())
    rows = len(world_windows.of("train"))
    assert groups.epoch(3, 1).tolist() == np.random.default_rng((3, 1)).permutation(rows).tolist()
    assert [len(part) for part in groups.micro_batches(groups.epoch(3, 1)[:16], 5)] == [5, 5, 5, 1]


def test_an_epoch_by_sequence_has_every_row_once_and_a_users_rows_together(
    world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    groups, train = groups_of(world_windows, world_catalog, BY_SEQUENCE), world_windows.of("train")
    order = groups.epoch(0, 0)  # 60 users with 7 training rows each: groups of 5 and of 2
    assert sorted(order.tolist()) == list(range(len(train)))
    assert (groups.epoch(0, 0) == order).all()
    assert (groups.epoch(0, 1) != order).any()
    for update in range(0, len(order), 16):
        micro_batches = groups.micro_batches(order[update : update + 16], 8)
        assert max(map(len, micro_batches)) <= 8
        assert np.concatenate(micro_batches).tolist() == order[update : update + 16].tolist()
        for rows in micro_batches:
            prompts = groups.prompts(rows, torch.device("cpu"))
            assert isinstance(prompts, Trunks)
            assert token_lists(prompts) == [
                world_catalog.prompt([world_catalog.index_of[item] for item in history])
                for history in train["history"].iloc[rows]
            ]
            users = train["user_id"].iloc[rows].tolist()
            assert len(prompts.mask) <= len(set(users)) + 1  # trunks: a user's two groups may be neighbours


def test_rows_that_do_not_follow_from_one_another_are_not_joined(
    world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    table = world_windows.table.sample(frac=0.5, random_state=0).sort_index().reset_index(drop=True)  # holes
    windows = Windows(table, world_windows.history_items)
    groups, train = groups_of(windows, world_catalog, BY_SEQUENCE), windows.of("train")
    prompts = groups.prompts(np.arange(len(train)), torch.device("cpu"))
    assert isinstance(prompts, Trunks)
    assert token_lists(prompts) == [
        world_catalog.prompt([world_catalog.index_of[item] for item in history]) for history in train["history"]
    ]


def test_the_longest_trunk_is_known_before(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    groups = groups_of(world_windows, world_catalog, BY_SEQUENCE)
    prompts = groups.prompts(np.arange(len(world_windows.of("train"))), torch.device("cpu"))
    assert isinstance(prompts, Trunks)
    assert groups.longest() == prompts.mask.shape[1] + world_catalog.trie.max_length
    assert groups_of(world_windows, world_catalog, WindowPrefill()).longest() == 0


def test_scores_are_those_that_supervised_fine_tuning_by_sequence_has(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex
) -> None:
    """The log-probability of all targets of a row is the loss of SFT's row of the same items."""
    model, catalog, items = start.load_model().cpu(), world_catalog, world_windows.history_items
    groups = groups_of(world_windows, catalog, SequencePrefill(prompts=7))  # of a user, whose rows are seven
    row = next(iter(sequence_rows(world_windows.of("train"), catalog, items, 50)))
    batch = Collator(0, items)([row])
    labels = batch.pop("labels")
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(
            model(**batch).logits[0, :-1], labels[0, 1:], reduction="sum"
        )  # labels of -100 are ignored
        rows = np.arange(7)
        candidates = torch.from_numpy(groups.targets[rows])[:, None]
        prompts = groups.prompts(rows, torch.device("cpu"))
        tree = group_tree(catalog.trie, prompts, candidates, "vocab", torch.float32)
        found = TreeLogProbs(TreeModel(model))(tree).sum()
    torch.testing.assert_close(-found, expected)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_rl_with_one_prompt_per_trunk_is_rl_by_windows(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, normalisation: str
) -> None:
    by_windows, by_sequence = (
        train_rl(
            start,
            world_windows,
            world_catalog,
            RL.model_copy(update={"normalisation": normalisation, "prefill": prefill}),
            tmp_path / prefill.type,
            log=nothing,
        )
        for prefill in (WindowPrefill(), SequencePrefill(prompts=1))
    )
    keys = ("loss", "reward", "kl", "groups_with_hit", "gradient_norm", SCORE)
    for ours, theirs in zip(by_sequence.curves(), by_windows.curves(), strict=True):
        assert {key: ours[key] for key in keys if key in theirs} == pytest.approx(
            {key: theirs[key] for key in keys if key in theirs}, rel=1e-3, abs=1e-6
        )
    assert_same_weights(by_sequence, by_windows, rtol=1e-3, atol=1e-4)


Train = Callable[[Checkpoint, Windows, CatalogIndex, Path, dict[str, Any]], Checkpoint]


def train_by_rl(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, run_dir: Path, changes: dict[str, Any]
) -> Checkpoint:
    return train_rl(start, windows, catalog, RL.model_copy(update=changes), run_dir, log=nothing)


def train_by_preference(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, run_dir: Path, changes: dict[str, Any]
) -> Checkpoint:
    return train_preference(start, windows, catalog, PREFERENCE.model_copy(update=changes), run_dir, log=nothing)


@pytest.mark.parametrize(
    ("train", "changes"),
    [
        (train_by_rl, {}),
        (train_by_rl, {"normalisation": "trie", "loss": MPO(), "ground_truth": "add"}),
        (train_by_rl, {"sampling": DynamicSampler()}),
        (train_by_rl, {"adaptation": LoRA(rank=2)}),
        (train_by_rl, {"precision": "bfloat16"}),
        (train_by_rl, {"gradient_checkpointing": "on"}),
        (train_by_preference, {}),
        (train_by_preference, {"source": "beam"}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else value.__name__,
)
def test_every_choice_trains_by_sequence(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    train: Train,
    changes: dict[str, Any],
) -> None:
    by_sequence = train(start, world_windows, world_catalog, tmp_path / "sequence", {"updates": 2, **changes})
    records = [record for record in by_sequence.curves() if "gradient_norm" in record]
    assert all(record["gradient_norm"] > 0 for record in records)
    by_windows = train(
        start, world_windows, world_catalog, tmp_path / "window", {"updates": 2, "prefill": WindowPrefill(), **changes}
    )
    assert by_sequence.facts()["tokens"] < 0.9 * by_windows.facts()["tokens"]


def test_gradient_checkpointing_changes_nothing(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    plain, recomputed = (
        train_by_rl(start, world_windows, world_catalog, tmp_path / choice, {"gradient_checkpointing": choice})
        for choice in ("off", "on")
    )
    assert_same_weights(recomputed, plain, rtol=1e-4, atol=1e-5)


def test_the_size_of_a_forward_changes_nothing(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    """Preference losses are means over an update, so what is left is where trunks are cut: nowhere."""
    small, large = (
        train_by_preference(start, world_windows, world_catalog, tmp_path / str(n), {"device_batch_prompts": n})
        for n in (5, 16)
    )
    assert_same_weights(small, large, rtol=1e-3, atol=1e-4)


def test_a_killed_run_resumes_and_ends_where_it_would_have(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = train_by_rl(start, world_windows, world_catalog, tmp_path / "whole", {})
    with pytest.raises(Killed):
        train_rl(start, world_windows, world_catalog, RL, tmp_path / "killed", log=killed_in_update(3))
    updates: list[int] = []
    again = train_rl(
        start, world_windows, world_catalog, RL, tmp_path / "killed", log=lambda metrics, update: updates.append(update)
    )
    assert updates == [3, 4]
    assert_same_weights(again, whole)


def test_validation_rises(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    changes = {"updates": 40, "epochs": 5, "validate_every": 20, "learning_rate": 5e-3}
    facts = train_by_rl(start, world_windows, world_catalog, tmp_path, changes).facts()
    assert facts["best_" + SCORE] > facts["start_" + SCORE]


@pytest.mark.parametrize("size", ["prompts", "device_batch_prompts"])
def test_a_run_must_fit_an_update_and_a_forward(size: str) -> None:
    with pytest.raises(ValueError, match=r"prefill\.prompts \(16\) must be at most"):
        RLConfig.model_validate({"prefill": {"type": "sequence"}, size: 8})
    RLConfig.model_validate({"prefill": {"type": "sequence", "prompts": 8}, size: 8})


def test_unconstrained_generation_is_by_windows() -> None:
    free = {"generation": "unconstrained", "normalisation": "vocab", "ground_truth": "off"}
    RLConfig.model_validate(free)
    with pytest.raises(ValueError, match="goes with prefill"):
        RLConfig.model_validate({**free, "prefill": {"type": "sequence"}})


def test_prompts_of_another_form_are_refused(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    class Templated(CatalogIndex):
        def prompt(self, history: Sequence[int], head: Sequence[int] | None = None) -> list[int]:
            return [*super().prompt(history, head), 5]

    parts = {name: getattr(world_catalog, name) for name in ("items", "trie", "tokenizer", "prompt_head", "config")}
    templated = Templated(**parts)
    groups_of(world_windows, templated, WindowPrefill())
    with pytest.raises(RereError, match="the instruction and the running history"):
        groups_of(world_windows, templated, BY_SEQUENCE)


def test_an_instruction_is_seen_by_every_prompt(world_windows: Windows, world_items: Any) -> None:
    catalog = build_index(world_items, IndexConfig(code=PrefixCode(), backbone=TINY, instruction="Next of"))
    prompts = groups_of(world_windows, catalog, BY_SEQUENCE).prompts(np.arange(5), torch.device("cpu"))
    assert isinstance(prompts, Trunks)
    assert prompts.source[:, : len(catalog.prompt_head)].unique().tolist() == list(range(len(catalog.prompt_head)))
