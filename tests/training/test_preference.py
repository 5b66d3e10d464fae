"""DPO and S-DPO: losses by hand, gradients against the plain way, and the training around them."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.trie import TokenTrie, build_trie
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.config.preference import PreferenceConfig
from rere.config.sft import SFTConfig
from rere.config.training import LoRA
from rere.data.dataset import Windows
from rere.decoding.beam import BeamResult, beam_search
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.models.trunks import Prompts
from rere.training.loop import SCORE
from rere.training.preference.losses.base import PreferenceInputs
from rere.training.preference.losses.s_dpo import SDPO
from rere.training.preference.train import random_negatives, train_preference, without_target
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.decoding.test_beam import random_items, random_prompts, tiny_model
from tests.oracles import assert_same_gradients, embedding_of, gradients_of, head_of, item_log_probs

QUICK = PreferenceConfig(
    prompts=16, device_batch_prompts=8, updates=6, learning_rate=2e-3, validate_every=2, checkpoint_every=2
)


@pytest.fixture(scope="module")
def adept(world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model with much to lose."""
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=6, learning_rate=1e-2, batch_tokens=64, sequence_items=8
    )
    return train_sft(world_windows, world_catalog, TINY, config, tmp_path_factory.mktemp("adept"), log=lambda *_: None)


def s_dpo(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    return SDPO()(PreferenceInputs(policy, reference, torch.ones_like(policy, dtype=torch.bool), beta))


def test_the_losses_by_hand() -> None:
    policy = torch.tensor([[-1.0, -2.0, -4.0]])
    reference = torch.tensor([[-2.0, -2.5, -3.0]])  # ratios 1, 0.5, -1
    pair = -math.log(1 / (1 + math.exp(-2 * (1 - 0.5))))  # DPO: -log sigmoid(beta (1 - 0.5))
    assert s_dpo(policy[:, :2], reference[:, :2], 2.0).item() == pytest.approx(pair)
    both = math.log(1 + math.exp(2 * (0.5 - 1)) + math.exp(2 * (-1 - 1)))
    assert s_dpo(policy, reference, 2.0).item() == pytest.approx(both)
    assert s_dpo(policy, policy, 1.0).item() == pytest.approx(math.log(3))  # where training starts


@pytest.mark.parametrize("negatives", [1, 3])
def test_loss_and_gradients_equal_the_plain_ones(negatives: int) -> None:
    """One forward per candidate, with the loss as the paper writes it, in float64."""
    generator = torch.Generator().manual_seed(7)
    model = tiny_model("qwen2").double()
    start = copy.deepcopy(model)
    with torch.no_grad():  # a policy that has moved
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.03)
    items, prompts = random_items(40, generator), random_prompts(4, generator)
    candidates = torch.stack([torch.randperm(len(items), generator=generator)[: 1 + negatives] for _ in prompts])

    def ratio(prompt: list[int], item: int) -> torch.Tensor:
        policy, reference = (item_log_probs(m, items, item, prompt, "vocab").sum() for m in (model, start))
        return policy - reference.detach()

    expected = torch.zeros((), dtype=torch.float64)
    for prompt, (target, *rejected) in zip(prompts, candidates.tolist(), strict=True):
        if negatives == 1:
            inside = 0.5 * (ratio(prompt, target) - ratio(prompt, rejected[0]))
        else:
            odds = [torch.exp(0.5 * (ratio(prompt, n) - ratio(prompt, target))) for n in rejected]
            inside = -torch.log(torch.stack(odds).sum())
        expected = expected - torch.log(torch.sigmoid(inside))
    expected.backward()
    gradients = gradients_of(model)
    model.zero_grad()

    tree = group_tree(build_trie(items), prompts, candidates, "vocab", torch.float64)
    with torch.no_grad():
        reference = TreeLogProbs(TreeModel(start))(tree).sum(2)
    losses = s_dpo(TreeLogProbs(TreeModel(model))(tree).sum(2), reference, 0.5)
    losses.sum().backward()
    torch.testing.assert_close(losses.sum(), expected, rtol=1e-9, atol=1e-9)
    assert_same_gradients(gradients_of(model), gradients)


def test_random_negatives_are_distinct_uniform_and_never_the_target() -> None:
    rows, targets = np.arange(6_000), np.arange(6_000) % 5
    drawn = random_negatives(rows, targets, items=5, count=2, seed=3)
    assert (drawn != targets[:, None]).all()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    counts = np.zeros((5, 5))
    np.add.at(counts, (targets.repeat(2), drawn.ravel()), 1)
    share = counts[~np.eye(5, dtype=bool)] / counts.sum(1).repeat(4)
    assert np.abs(share - 1 / 4).max() < 0.04  # standard error .009
    again = random_negatives(rows[7:9], targets[7:9], items=5, count=2, seed=3)
    assert (again == drawn[7:9]).all()  # whatever the batch
    assert (random_negatives(rows, targets, items=5, count=2, seed=4) != drawn).any()


def test_beam_negatives_leave_the_target_out_and_keep_the_order() -> None:
    ranked = torch.tensor([[4, 2, 7], [4, 2, 7], [4, 2, 7]])
    assert without_target(ranked, torch.tensor([2, 4, 9])).tolist() == [[4, 7], [2, 7], [4, 2]]


@pytest.mark.parametrize(("negatives", "source"), [(1, "random"), (3, "random"), (3, "beam")])
def test_the_target_comes_to_be_preferred(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, negatives: int, source: str
) -> None:
    config = QUICK.model_copy(
        update={"negatives": negatives, "source": source, "updates": 40, "validate_every": 20, "learning_rate": 5e-3}
    )
    checkpoint = train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    checkpoint.verify()
    curves = [record for record in checkpoint.curves() if "loss" in record]
    assert len(curves) == 40
    assert curves[0]["loss"] == pytest.approx(math.log(1 + negatives), abs=1e-4)  # policy = reference
    assert np.mean([record["loss"] for record in curves[-10:]]) < curves[0]["loss"] - 0.02
    assert np.mean([record["margin"] for record in curves[-10:]]) > curves[0]["margin"]
    assert checkpoint.facts()["best_" + SCORE] > checkpoint.facts()["start_" + SCORE]


def test_the_starts_own_beams_are_the_negatives(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The policy moves, its negatives stay the start's."""
    asked = []

    def watch(model: TreeModel, trie: TokenTrie, prompts: Prompts, settings: SearchSettings) -> BeamResult:
        weights = {name: weight.detach().clone() for name, weight in model.model.named_parameters()}
        asked.append((weights, settings.beams))
        return beam_search(model, trie, prompts, settings)

    monkeypatch.setattr("rere.training.preference.train.beam_search", watch)
    config = QUICK.model_copy(update={"source": "beam", "updates": 2})
    train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    original = dict(start.load_model().named_parameters())
    assert [beams for _, beams in asked] == [4] * 4  # two micro-batches in each of two updates
    for weights, _ in asked:
        assert all(torch.equal(weights[name], weight) for name, weight in original.items())


def test_a_policy_that_only_gets_worse_leaves_the_start(
    adept: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"learning_rate": 1.0, "warmup_share": 0.0})  # ruins the model at once
    checkpoint = train_preference(adept, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    facts = checkpoint.facts()
    assert (facts["stage"], facts["best_update"]) == ("preference", 0)
    for name, weight in adept.load_model().state_dict().items():
        torch.testing.assert_close(checkpoint.load_model().state_dict()[name], weight)


def test_divergence_is_a_clear_error(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"learning_rate": 1e30, "warmup_share": 0.0})
    with pytest.raises(RereError, match="lower the learning rate"):
        train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)


@pytest.mark.parametrize("source", ["random", "beam"])
def test_a_killed_run_resumes_and_ends_where_it_would_have(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, source: str
) -> None:
    class Killed(Exception):
        pass

    def kill(metrics: dict[str, float], update: int) -> None:
        if update == 5:
            raise Killed

    config = QUICK.model_copy(update={"source": source})
    whole = train_preference(start, world_windows, world_catalog, config, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_preference(start, world_windows, world_catalog, config, tmp_path / "killed", log=kill)
    updates = []
    again = train_preference(
        start, world_windows, world_catalog, config, tmp_path / "killed", log=lambda _, update: updates.append(update)
    )
    assert updates == [5, 6]  # from the checkpoint of update 4
    for name, weight in whole.load_model().state_dict().items():
        torch.testing.assert_close(again.load_model().state_dict()[name], weight)
    keys = ("update", "loss", "margin", "preferred", SCORE)
    assert [[r.get(k) for k in keys] for r in whole.curves()] == [[r.get(k) for k in keys] for r in again.curves()]
    once_more = train_preference(
        start, world_windows, world_catalog, config, tmp_path / "killed", log=lambda *_: pytest.fail("trained again")
    )
    assert once_more == again


def test_micro_batches_change_nothing(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    settings = {"updates": 1, "warmup_share": 0.0}
    one, two = (
        train_preference(
            start,
            world_windows,
            world_catalog,
            QUICK.model_copy(update=settings | {"device_batch_prompts": size}),
            tmp_path / str(size),
            log=lambda *_: None,
        ).curves()[1]
        for size in (16, 5)
    )
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-3)


def test_lora_starts_at_the_reference_and_merges(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"adaptation": LoRA(rank=2, dropout=0.0), "updates": 40, "learning_rate": 5e-3})
    checkpoint = train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    assert checkpoint.curves()[1]["loss"] == pytest.approx(math.log(4), abs=1e-4)
    assert np.mean([record["loss"] for record in checkpoint.curves()[-10:]]) < math.log(4)
    assert checkpoint.load_model().state_dict().keys() == start.load_model().state_dict().keys()


def test_more_negatives_than_items_take_all_of_them(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"negatives": 99, "updates": 1})
    checkpoint = train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    assert checkpoint.curves()[1]["loss"] == pytest.approx(math.log(len(world_catalog.item_ids)), abs=1e-4)


def test_one_item_has_nothing_to_prefer_it_to(
    start: Checkpoint, world_windows: Windows, world_items: pd.DataFrame, tmp_path: Path
) -> None:
    catalog = build_index(world_items[:1], IndexConfig(code=PrefixCode(), backbone=TINY))
    with pytest.raises(RereError, match="at least two items"):
        train_preference(start, world_windows, catalog, QUICK, tmp_path, log=lambda *_: None)


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"]])
def test_adapters_of_tied_embeddings_are_stored_as_they_were_trained(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, targets: list[str] | str
) -> None:
    """Saving holds the stored model against the trained one; here, that head and embedding are two."""
    lora = LoRA(rank=2, dropout=0.0, targets=targets)
    config = QUICK.model_copy(update={"adaptation": lora, "updates": 4, "learning_rate": 1e-2})
    kept = train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    model, before = kept.load_model(), start.load_model()
    assert head_of(model) is not embedding_of(model)
    assert torch.equal(head_of(before), embedding_of(before))
