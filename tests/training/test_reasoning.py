"""Reasoning before recommending: reading against plain forwards, the objective by hand, the training around them."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.training import LoRA
from rere.data.dataset import Windows
from rere.decoding.reasoning import read, reasoning_tree, write
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.recommendation_head import RecommendationHead, Writing
from rere.models.tree_attention import TreeModel
from rere.recommenders.reasoning import ReasoningRecommender
from rere.training.loop import SCORE
from rere.training.reasoning.train import objective, rewards_of, train_reasoning
from tests.conftest import TINY, WORLD_ITEMS
from tests.decoding.test_beam import END, random_prompts, tiny_model
from tests.oracles import assert_same_gradients, gradients_of, head_of
from tests.training.killed import Killed, killed_in_update

WRITING = Writing(cue=(7, 8), closing=(9, 10), tokens=5, end=END)
QUICK = ReasoningConfig(
    tokens=6,
    num_generations=3,
    head_updates=2,
    prompts=8,
    device_batch_prompts=4,
    updates=4,
    validate_every=2,
    checkpoint_every=2,
    validation_rows=20,
    learning_rate=1e-3,
)
# Of three prompts: one begins another; one is empty but for its end; one holds the closing, so that it ends as another.
REASONINGS = [[[4, 5], [4, 5, 6, 11, 12]], [[END], [13, END]], [[14], [14, 9, 10]]]


def plainly(model: PreTrainedModel, prompt: list[int], reasoning: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One forward over the whole sequence: (tokens,) log-probabilities of the reasoning, (width,) the last state."""
    before = [*prompt, *WRITING.cue]
    out = model(input_ids=torch.tensor([[*before, *reasoning, *WRITING.closing]]), output_hidden_states=True)
    logits = out.logits[0, len(before) - 1 : len(before) - 1 + len(reasoning)].log_softmax(-1)
    return logits[torch.arange(len(reasoning)), torch.tensor(reasoning)], out.hidden_states[-1][0, -1]


def test_reading_the_tree_equals_plain_forwards() -> None:
    model, prompts = tiny_model("qwen2").double(), random_prompts(3, torch.Generator().manual_seed(1))
    tree_model = TreeModel(copy.deepcopy(model))
    given = reasoning_tree(tree_model, prompts, REASONINGS, WRITING)
    with torch.no_grad():
        log_probs, states = read(tree_model, given)
        for p, (prompt, group) in enumerate(zip(prompts, REASONINGS, strict=True)):
            for g, reasoning in enumerate(group):
                own, state = plainly(model, prompt, reasoning)
                assert given.written[p, g].sum() == len(reasoning)
                torch.testing.assert_close(log_probs[p, g, : len(reasoning)], own, rtol=1e-6, atol=1e-6)
                assert (log_probs[p, g, len(reasoning) :] == 0).all()
                torch.testing.assert_close(states[p, g], state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rewarded", [True, False])
def test_the_objective_has_the_plain_value_and_gradients(rewarded: bool) -> None:
    """As the module writes it, one reasoning after another."""
    generator = torch.Generator().manual_seed(2)
    model, prompts = tiny_model("qwen2").double(), random_prompts(3, generator)
    start = copy.deepcopy(model)
    with torch.no_grad():  # a policy that has moved
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.03)
    weight = torch.randn((6, 16), generator=generator, dtype=torch.float64)
    head = RecommendationHead(weight, torch.randn(6, generator=generator, dtype=torch.float64), WRITING)
    targets, beta = [5, 0, 3], 0.3

    expected = torch.zeros((), dtype=torch.float64)
    rewards: list[np.ndarray] = []
    for prompt, group, target in zip(prompts, REASONINGS, targets, strict=True):
        read_plainly = [plainly(model, prompt, reasoning) for reasoning in group]
        of_target = [torch.log_softmax(head.weight @ state + head.bias, 0)[target] for _, state in read_plainly]
        expected = expected - sum(of_target) / 2
        values = np.array([float(one.detach()) for one in of_target])
        rewards.append(values)
        for reasoning, value, (policy, _) in zip(group, values, read_plainly, strict=True):
            advantage = (value - values.mean()) / (values.std(ddof=1) + 1e-4) * rewarded
            away = plainly(start, prompt, reasoning)[0].detach() - policy
            kl = torch.exp(away) - away - 1
            gain = torch.exp(policy - policy.detach()) * advantage - beta * kl
            expected = expected - gain.mean() / 2  # of two reasonings
    expected.backward()
    gradients = gradients_of(model) | gradients_of(head)
    model.zero_grad()
    head.zero_grad()

    tree_model = TreeModel(model)
    given = reasoning_tree(tree_model, prompts, REASONINGS, WRITING)
    with torch.no_grad():
        reference = read(TreeModel(start), given)[0]
    policy, states = read(tree_model, given)
    log_probs = head(states)
    config = ReasoningConfig(reward="log_probability")
    reward = rewards_of(log_probs.detach(), torch.tensor(targets), config)
    torch.testing.assert_close(reward, torch.tensor(np.array(rewards)), rtol=1e-5, atol=1e-5)
    found = objective(
        given,
        policy,
        reference,
        log_probs=log_probs,
        reward=reward,
        targets=torch.tensor(targets),
        beta=beta,
        rewarded=rewarded,
    )
    found.loss.backward()
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=1e-5)
    assert_same_gradients(gradients_of(model) | gradients_of(head), gradients, tolerance=1e-4)


def test_rewards_by_hand() -> None:
    probabilities = torch.tensor([[[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]])
    targets = torch.tensor([2])
    by_rank = rewards_of(probabilities.log(), targets, ReasoningConfig(reward="rank"))
    torch.testing.assert_close(by_rank, torch.tensor([[1 / math.log2(3), 1 / math.log2(3)]]))  # second; tied second
    assert rewards_of(probabilities.log(), torch.tensor([1]), ReasoningConfig(reward="rank")).tolist() == [[0.5, 1.0]]
    by_probability = rewards_of(probabilities.log(), targets, ReasoningConfig())
    torch.testing.assert_close(by_probability, torch.tensor([[math.log(0.3), math.log(0.1)]]))


def test_what_is_written_ends_or_fills_its_budget() -> None:
    model, prompts = TreeModel(tiny_model("qwen2")), random_prompts(4, torch.Generator().manual_seed(3))
    state = torch.get_rng_state()
    drawn = write(model, prompts, WRITING, group=8, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(group) for group in drawn] == [8] * 4
    for text in (text for group in drawn for text in group):
        assert END not in text[:-1]
        assert 1 <= len(text) <= 5
        assert len(text) == 5 or text[-1] == END
    assert write(model, prompts, WRITING, group=8, seed=5) == drawn
    assert write(model, prompts, WRITING, group=8, seed=6) != drawn
    likeliest = [group[0] for group in write(model, prompts, WRITING)]
    for prompt, text in zip(prompts, likeliest, strict=True):
        for n, token in enumerate(text):
            logits = model.base(input_ids=torch.tensor([[*prompt, *WRITING.cue, *text[:n]]])).logits[0, -1]
            assert logits.argmax() == token
    nothing = Writing(WRITING.cue, WRITING.closing, tokens=0, end=END)
    assert write(model, prompts[:1], nothing, group=2, seed=0) == [[[], []]]


def test_a_head_begins_as_the_mean_of_the_items_tokens(world_catalog: CatalogIndex) -> None:
    model = load_model(TINY, len(world_catalog.tokenizer), seed=0)
    head = RecommendationHead.untrained(model, world_catalog, Writing.of(world_catalog, QUICK))
    rows = head_of(model)
    for item in (0, WORLD_ITEMS - 1):
        expected = torch.stack([rows[token] for token in world_catalog.item_tokens[item]]).mean(0)
        torch.testing.assert_close(head.weight[item], expected)
    assert (head.bias == 0).all()


@pytest.mark.parametrize(
    "changes",
    [{}, {"tokens": 0}, {"reward": "rank", "adaptation": LoRA(rank=2, dropout=0.0)}],
    ids=["reasons", "head alone", "adapters"],
)
def test_it_trains_is_stored_and_recommends(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    config = QUICK.model_copy(update=changes)
    checkpoint = train_reasoning(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    records = [record for record in checkpoint.curves() if "reward" in record]
    assert len(records) == 4
    assert all(record["gradient_norm"] > 0 and record["head_loss"] > 0 for record in records)
    assert all(record["reasoning_tokens"] <= config.tokens for record in records)
    facts = checkpoint.facts()
    assert facts["stage"] == "reasoning"
    found = ReasoningRecommender.load("reasoning", checkpoint.path, world_catalog)
    assert found.head.writing == Writing.of(world_catalog, config)
    again = train_reasoning(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: pytest.fail("again"))
    assert again.path == checkpoint.path

    ranking = found.recommend([[0, 1], [5, 6, 7]], WORLD_ITEMS + 2)
    assert (np.sort(ranking.items, 1)[:, 2:] == np.arange(WORLD_ITEMS)).all()  # each item once
    assert (ranking.items[:, -2:] == -1).all()
    assert np.isneginf(ranking.scores[:, -2:]).all()
    np.testing.assert_allclose(np.exp(ranking.scores).sum(1), 1, rtol=1e-4)
    assert (np.diff(ranking.scores[:, :WORLD_ITEMS]) <= 0).all()
    alone = found.recommend([[5, 6, 7]], 3)
    assert alone.items.tolist() == ranking.items[1:, :3].tolist()
    assert len(found.reasonings([[0, 1], [5, 6, 7]])) == 2


def test_the_head_learns_to_recommend(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    """Users walk on by one item four times out of five. Without texts nothing is drawn, so nothing is luck."""
    changes = {"updates": 60, "epochs": 3, "prompts": 16, "device_batch_prompts": 16, "tokens": 0, "validate_every": 30}
    config = QUICK.model_copy(update={**changes, "learning_rate": 3e-3, "head_learning_rate": 1e-2})
    checkpoint = train_reasoning(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    losses = [record["head_loss"] for record in checkpoint.curves() if "reward" in record]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert checkpoint.facts()["best_" + SCORE] > 1.3 * checkpoint.facts()["start_" + SCORE]


def test_a_killed_run_resumes_and_ends_where_it_would_have(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = train_reasoning(start, world_windows, world_catalog, QUICK, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_reasoning(start, world_windows, world_catalog, QUICK, tmp_path / "cut", log=killed_in_update(3))
    updates: list[int] = []
    resumed = train_reasoning(
        start, world_windows, world_catalog, QUICK, tmp_path / "cut", log=lambda _, update: updates.append(update)
    )
    assert updates == [3, 4]
    assert resumed.identity() == whole.identity()


def test_the_head_is_part_of_the_models_identity(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    identities = set()
    for closing in ("a", "b"):  # the same weights, read elsewhere
        model = start.load_model()
        writing = Writing.of(world_catalog, QUICK.model_copy(update={"closing": closing}))
        head = RecommendationHead.untrained(model, world_catalog, writing)
        beside = {"recommendation_head": head.tensors()}
        identities.add(save_checkpoint(model, tmp_path / closing, [], {}, beside=beside).identity())
    assert len(identities | {start.identity()}) == 3


def test_items_that_are_written_as_tokens_are_shown_by_their_titles(world_items: pd.DataFrame) -> None:
    catalog = build_index(world_items, IndexConfig.model_validate({"code": "item", "backbone": TINY}))
    model = load_model(TINY, catalog.vocabulary, seed=0).cpu()
    head = RecommendationHead.untrained(model, catalog, Writing.of(catalog, QUICK))
    with torch.no_grad():  # whatever is before, the third item comes next
        layer = cast(torch.nn.Linear, model.get_output_embeddings())
        layer.weight.zero_()
        layer.bias = torch.nn.Parameter(torch.zeros(len(layer.weight)))
        layer.bias[catalog.item_tokens[2][0]] = 9.0
    (text,) = ReasoningRecommender("reasoning", TreeModel(model.eval()), head, catalog).reasonings([[0, 1]])
    assert text == f"[{catalog.titles[2]}]" * QUICK.tokens


def test_what_does_not_fit_is_refused(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, world_items: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="goes with prefill"):
        ReasoningConfig.model_validate({"prefill": {"type": "sequence"}})
    with pytest.raises(RereError, match="which has no head"):
        ReasoningRecommender.load("reasoning", start.path, world_catalog)
    long = QUICK.model_copy(update={"tokens": 1_000_000})
    with pytest.raises(RereError, match="context"):
        train_reasoning(start, world_windows, world_catalog, long, tmp_path / "long", log=lambda *_: None)
    fewer = build_index(world_items[:-1], IndexConfig(code=world_catalog.config.code, backbone=TINY))
    model = start.load_model()
    head = RecommendationHead.untrained(model, world_catalog, Writing.of(world_catalog, QUICK))
    stored = save_checkpoint(model, tmp_path / "own", [], {}, beside={"recommendation_head": head.tensors()})
    with pytest.raises(RereError, match="items"):
        ReasoningRecommender.load("reasoning", stored.path, fewer)
    endless = copy.deepcopy(world_catalog.tokenizer)
    endless.eos_token = None
    with pytest.raises(RereError, match="an end of text"):
        Writing.of(dataclasses.replace(world_catalog, tokenizer=endless), QUICK)
