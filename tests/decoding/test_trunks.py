"""Prompts that branch off trunks, against the same prompts by themselves and against each alone with the same mask."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.sampling import sample_items
from rere.errors import RereError
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.models.trunks import HEAD, Trunks
from rere.training.rows import Collator
from tests.decoding.test_architectures import ARCHITECTURES, tiny
from tests.decoding.test_beam import random_items

HEAD_TOKENS, HISTORY_ITEMS = [7, 8], 3
WALKS = [[0, 9, 4, 21, 4, 17, 30, 2, 11], [13], [5, 6, 25]]  # items of three users
NO_DROPOUT = dict.fromkeys(("dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
BRANCH_POINTS = [[2, 4, 5, 8, 9], [1], [1, 2, 3]]  # items before each prompt


def trunks(items: list[list[int]], walks: Sequence[Sequence[int]], branch_points: Sequence[Sequence[int]]) -> Trunks:
    return Trunks.of(
        [HEAD_TOKENS] * len(walks), [[items[item] for item in walk] for walk in walks], branch_points, HISTORY_ITEMS
    )


def windows(
    items: list[list[int]], walks: Sequence[Sequence[int]], branch_points: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The prompts by themselves."""
    return [
        [
            *HEAD_TOKENS,
            *(token for item in walk[max(0, branch_point - HISTORY_ITEMS) : branch_point] for token in items[item]),
        ]
        for walk, own in zip(walks, branch_points, strict=True)
        for branch_point in own
    ]


def alone(
    model: PreTrainedModel,
    items: list[list[int]],
    walk: Sequence[int],
    branch_point: int,
    item: int,
    normalisation: Normalisation,
) -> torch.Tensor:
    """(length,) log-probabilities of an item's tokens after `place` items of a walk, from one stock forward of these.

    The mask and the positions are those of supervised fine-tuning by sequence.
    """
    tokens, owner = list(HEAD_TOKENS), [HEAD] * len(HEAD_TOKENS)
    for number, one in enumerate([*walk[:branch_point], item]):
        tokens += items[one]
        owner += [number] * len(items[one])
    length = len(items[item])
    row = {"input_ids": tokens, "labels": tokens, "owner": owner}
    batch = {name: value for name, value in Collator(0, HISTORY_ITEMS)([row]).items() if name != "labels"}
    logits = model(**batch).logits[0, -length - 1 : -1]
    if normalisation == "trie":
        mask = torch.full_like(logits, -torch.inf)
        for n in range(length):
            mask[n, [other[n] for other in items if other[:n] == items[item][:n] and len(other) > n]] = 0
        logits = logits + mask
    return torch.log_softmax(logits, -1)[torch.arange(length), torch.tensor(items[item])]


def all_alone(
    model: PreTrainedModel, items: list[list[int]], groups: torch.Tensor, normalisation: Normalisation
) -> torch.Tensor:
    """(P, G) summed log-probabilities of candidates, each prompt and candidate by itself."""
    prompts = [(walk, branch_point) for walk, own in zip(WALKS, BRANCH_POINTS, strict=True) for branch_point in own]
    return torch.stack(
        [
            torch.stack([alone(model, items, *prompt, item, normalisation).sum() for item in group])
            for prompt, group in zip(prompts, groups.tolist(), strict=True)
        ]
    )


def gradients_of(model: PreTrainedModel, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        # Relative to the tensor's largest entry: the models' own norms work in float32 whatever the weights are.
        assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-12, name


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_prompt_per_trunk_is_its_window(name: str, normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(3)
    model, items = tiny(*ARCHITECTURES[name]).double(), random_items(32, generator)
    trie, tree_model = build_trie(items), TreeModel(model)
    walks = [[3, 9], [13], [5, 6, 25], [30, 1, 2]]
    branch_points = [[len(walk)] for walk in walks]
    plain = windows(items, walks, branch_points)
    shared = trunks(items, walks, branch_points)
    expected, found = (
        beam_search(tree_model, trie, prompts, SearchSettings(beams=5, normalisation=normalisation))
        for prompts in (plain, shared)
    )
    assert found.items.tolist() == expected.items.tolist()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=0)  # float32, whatever the model's
    assert (found.forwarded, found.required) == (expected.forwarded, expected.required)
    draws = [sample_items(tree_model, trie, p, 9, torch.Generator().manual_seed(5)).items for p in (plain, shared)]
    assert torch.equal(*draws)

    weights = torch.randn(expected.items.shape, generator=generator, dtype=torch.float64)
    log_probs, gradients = [], []
    for prompts in (plain, shared):
        tree = group_tree(trie, prompts, expected.items, normalisation, torch.float64)
        log_probs.append(TreeLogProbs(tree_model)(tree))
        gradients.append(gradients_of(model, (log_probs[-1].sum(2) * weights).sum()))
    torch.testing.assert_close(log_probs[1], log_probs[0], atol=1e-5, rtol=0)
    assert_same_gradients(*gradients)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_prompt_has_the_items_and_scores_that_it_has_alone(name: str, normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(4)
    model, items = tiny(*ARCHITECTURES[name]), random_items(32, generator)
    prompts = trunks(items, WALKS, BRANCH_POINTS)
    tree_model, exact = TreeModel(model), SearchSettings(beams=len(items), normalisation=normalisation)
    found = beam_search(tree_model, build_trie(items), prompts, exact)
    with torch.no_grad():
        everything = all_alone(model, items, torch.arange(len(items)).expand(len(prompts), -1), normalisation)
    scores, _ = everything.sort(descending=True)
    torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(everything.gather(1, found.items), scores, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize("name", ["llama", "qwen2, windows", "gemma2", "gpt2", "opt"])
def test_log_probs_and_gradients_are_those_of_each_prompt_alone(
    name: str, checkpointing: str, normalisation: Normalisation
) -> None:
    generator = torch.Generator().manual_seed(5)
    kind, options = ARCHITECTURES[name]
    model, items = tiny(kind, options | NO_DROPOUT).double(), random_items(32, generator)
    prompts, tree_model = trunks(items, WALKS, BRANCH_POINTS), TreeModel(model)
    groups = torch.stack([torch.randperm(len(items), generator=generator)[:6] for _ in range(len(prompts))])
    weights = torch.randn(groups.shape, generator=generator, dtype=torch.float64)
    expected = all_alone(model, items, groups, normalisation)
    gradients = gradients_of(model, (expected * weights).sum())
    if checkpointing == "on":
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    tree = group_tree(build_trie(items), prompts, groups, normalisation, torch.float64)
    found = TreeLogProbs(tree_model)(tree).sum(2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_same_gradients(gradients_of(model, (found * weights).sum()), gradients)


def test_the_tokens_of_prompts_are_their_windows() -> None:
    items = random_items(32, torch.Generator().manual_seed(4))
    prompts = trunks(items, WALKS, BRANCH_POINTS)
    found = [
        prompts.tokens[source[:length]].tolist()
        for source, length in zip(prompts.source, prompts.lengths.tolist(), strict=True)
    ]
    assert found == windows(items, WALKS, BRANCH_POINTS)


def test_an_item_is_run_once() -> None:
    items = random_items(32, torch.Generator().manual_seed(4))
    prompts = trunks(items, WALKS, BRANCH_POINTS)
    plain = windows(items, WALKS, BRANCH_POINTS)
    held = len(WALKS) * len(HEAD_TOKENS) + sum(len(items[item]) for walk in WALKS for item in walk)
    assert len(prompts.tokens) == held < sum(map(len, plain))
    groups = torch.arange(4).expand(len(prompts), -1)
    shared, single = (
        len(group_tree(build_trie(items), own, groups, "vocab", torch.float32).tokens) for own in (prompts, plain)
    )
    assert single - shared == sum(map(len, plain)) - held  # the nodes are as many


def test_one_token_per_item_needs_no_branches() -> None:
    """Nothing is run after the trunks."""
    items = [[n] for n in range(3, 12)]
    model = TreeModel(tiny(*ARCHITECTURES["llama"]))
    prompts = trunks(items, [[1, 2, 3, 4, 5]], [[2, 4, 5]])
    trie = build_trie(items)
    found = beam_search(model, trie, prompts, SearchSettings(beams=9))
    tree = group_tree(trie, prompts, found.items, "vocab", torch.float32)
    assert len(tree.tokens) == found.forwarded == len(HEAD_TOKENS) + 5
    torch.testing.assert_close(TreeLogProbs(model)(tree).sum(2), found.scores)


def test_a_trunk_longer_than_the_context_is_refused() -> None:
    options = {**ARCHITECTURES["gpt2"][1], "n_positions": 16}
    model, items = TreeModel(tiny("gpt2", options)), [[n] for n in range(3, 30)]
    walk = list(range(14))
    trie = build_trie(items)
    beam_search(model, trie, trunks(items, [walk[:13]], [[13]]), SearchSettings(beams=2))  # 2 + 13 tokens, and one more
    with pytest.raises(RereError, match="16 tokens"):
        beam_search(model, trie, trunks(items, [walk], [[3, 14]]), SearchSettings(beams=2))
