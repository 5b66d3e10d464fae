"""Sampling through the token tree: only valid items, with the probabilities of the constrained model."""

from __future__ import annotations

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.decoding.sampling import TargetCopies, dynamic_group, sample_items
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import END, random_items, random_prompts, tiny_model
from tests.oracles import all_sequences, score_all_items


def test_frequencies_are_the_constrained_models_probabilities() -> None:
    model, draws = tiny_model("qwen2", seed=3), 20_000
    items = all_sequences((5, 6, 7), (1, 2), END)  # 12 items
    prompts = random_prompts(2, torch.Generator().manual_seed(2))
    sample = sample_items(TreeModel(model), build_trie(items), prompts, draws, torch.Generator().manual_seed(0))
    for row, prompt in enumerate(prompts):
        expected = score_all_items(model, items, prompt, "trie").exp()
        found = torch.bincount(sample.items[row], minlength=len(items)) / draws
        error = (expected * (1 - expected) / draws).sqrt()  # of a binomial share
        assert ((found - expected).abs() < 5 * error + 1e-4).all()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    generator = torch.Generator().manual_seed(1)
    model, trie = TreeModel(tiny_model("llama")), build_trie(random_items(60, generator))
    prompts = random_prompts(3, generator)
    first, again, other = (
        sample_items(model, trie, prompts, 12, torch.Generator().manual_seed(seed)).items for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("items", [[[5, 6, END]], [[5, END], [5, 6, END]]])
def test_tiny_catalogues(items: list[list[int]]) -> None:
    sample = sample_items(TreeModel(tiny_model("gpt2")), build_trie(items), [[3], [4, 5]], 6, torch.Generator())
    assert sample.items.shape == (2, 6)
    assert set(sample.items.flatten().tolist()) <= set(range(len(items)))


@pytest.mark.parametrize("copies", ["all", "one"])
def test_dynamic_group_keeps_the_target_then_distinct_negatives_then_repeats(copies: TargetCopies) -> None:
    drawn = torch.tensor([[4, 4, 1, 9, 4, 2], [3, 3, 3, 5, 3, 3]])
    groups = dynamic_group(drawn, torch.tensor([9, 8]), 4, copies)
    assert groups.tolist() == [[9, 4, 1, 2], [3, 5, 3, 3]]


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ("all", [[9, 9, 4, 1], [9, 9, 9, 9], [9, 9, 9, 4]]),  # every draw of the target, even if that is the group
        ("one", [[9, 4, 1, 2], [9, 1, 9, 9], [9, 4, 9, 4]]),  # the first; the others wait with the other repeats
    ],
)
def test_dynamic_group_keeps_every_copy_of_the_target_or_one(copies: TargetCopies, expected: list[list[int]]) -> None:
    drawn = torch.tensor([[4, 9, 4, 1, 9, 2], [9, 9, 9, 9, 9, 1], [4, 9, 9, 4, 4, 9]])
    assert dynamic_group(drawn, torch.tensor([9, 9, 9]), 4, copies).tolist() == expected
