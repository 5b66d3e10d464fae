"""Free generation against enumeration, plain forwards and a dictionary of items."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.trie import build_trie
from rere.config.catalog import IndexConfig
from rere.config.decoding import Beam, FreeSampling, Multinomial
from rere.decoding.unconstrained import find_items, generate_freely, generated_lengths, item_end
from rere.errors import RereError
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from tests.conftest import TINY
from tests.decoding.test_beam import END, VOCABULARY, random_items, random_prompts, tiny_model

ITEMS = [[5, END], [6, 7, END], [6, 8, END], [9, 9, END]]


@torch.no_grad()
def sequence_log_prob(model: PreTrainedModel, prompt: list[int], sequence: Sequence[int]) -> float:
    """Log-probability of a free continuation, from one plain forward."""
    logits = model(input_ids=torch.tensor([[*prompt, *sequence]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(sequence)), torch.tensor(sequence)].sum().item()


def every_sequence(length: int) -> Iterator[tuple[int, ...]]:
    """All that can be written: ended within the length, or cut there."""
    others = [token for token in range(VOCABULARY) if token != END]
    for size in range(length + 1):
        for tokens in itertools.product(others, repeat=size):
            yield (*tokens, END) if size < length else tokens


@torch.no_grad()
def all_log_probs(model: PreTrainedModel, prompt: list[int]) -> dict[tuple[int, ...], float]:
    """Log-probability of every sequence of at most two tokens: one forward for the first and one for each second."""
    first = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    second = model(input_ids=torch.tensor([[*prompt, t] for t in range(VOCABULARY)])).logits[:, -1].log_softmax(-1)
    return {
        sequence: (first[sequence[0]] + (second[sequence] if len(sequence) > 1 else 0.0)).item()
        for sequence in every_sequence(2)
    }


def test_wide_beams_find_the_likeliest_of_everything_that_can_be_written() -> None:
    model, prompts = tiny_model("qwen2", seed=3), random_prompts(3, torch.Generator().manual_seed(2))
    trie = build_trie([[5, END], [6, END]])  # two tokens at most
    found = generate_freely(TreeModel(model), trie, END, prompts, VOCABULARY - 1, sampling=Beam(), seed=0)
    for row, prompt in enumerate(prompts):
        scores = all_log_probs(model, prompt)
        best = sorted(scores, key=lambda sequence: -scores[sequence])[: VOCABULARY - 1]
        written = [tuple(found.trie.item(index)) for index in found.candidates[row].tolist()]
        assert len(set(written)) == len(written)
        assert [scores[s] for s in written] == pytest.approx([scores[s] for s in best], abs=1e-4)
        items: dict[tuple[int, ...], int] = {(5, END): 0, (6, END): 1}
        assert found.items[row].tolist() == [items.get(sequence, -1) for sequence in written]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_prompt_is_not_disturbed_by_padding(architecture: str) -> None:
    model, prompts = TreeModel(tiny_model(architecture)), random_prompts(5, torch.Generator().manual_seed(1))
    together = generate_freely(model, build_trie(ITEMS), END, prompts, 4, sampling=Beam(), seed=0)
    for row, prompt in enumerate(prompts):
        alone = generate_freely(model, build_trie(ITEMS), END, [prompt], 4, sampling=Beam(), seed=0)
        expected = [alone.trie.item(index) for index in alone.candidates[0].tolist()]
        assert [together.trie.item(index) for index in together.candidates[row].tolist()] == expected


def test_draws_follow_the_models_own_distribution() -> None:
    model, prompt = tiny_model("llama"), [4, 11]
    trie, draws = build_trie([[5, END], [6, END]]), 4_000
    found = generate_freely(TreeModel(model), trie, END, [prompt], draws, sampling=Multinomial(), seed=1)
    scores = all_log_probs(model, prompt)
    assert sum(torch.tensor(score).exp().item() for score in scores.values()) == pytest.approx(1, abs=1e-4)
    counts = torch.bincount(found.candidates[0], minlength=found.trie.items) / draws
    for sequence, score in sorted(scores.items(), key=lambda pair: -pair[1])[:10]:
        indices = [n for n in range(found.trie.items) if tuple(found.trie.item(n)) == sequence]
        share, expected = counts[indices].sum().item(), torch.tensor(score).exp().item()
        assert abs(share - expected) < 4 * (expected / draws) ** 0.5
    written = [tuple(found.trie.item(n)) for n in found.candidates[0].tolist()]
    assert int((found.items < 0).sum()) == sum(sequence not in {(5, END), (6, END)} for sequence in written)


def test_draws_are_seeded_and_leave_the_random_state_alone() -> None:
    model, state = TreeModel(tiny_model("qwen2")), torch.get_rng_state()
    first, again, other = (
        generate_freely(model, build_trie(ITEMS), END, [[4], [5, 6]], 8, sampling=Multinomial(), seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.trie.item_tokens, again.trie.item_tokens)
    assert torch.equal(first.candidates, again.candidates)
    assert not torch.equal(first.trie.item_tokens, other.trie.item_tokens)


def test_items_are_found_as_a_dictionary_finds_them() -> None:
    generator = torch.Generator().manual_seed(0)
    items = random_items(80, generator)
    trie, indices = build_trie(items), {tuple(item): n for n, item in enumerate(items)}
    sequences = [*items, *(item[:-1] for item in items), *([*item, 5] for item in items), [END], [3, 3, 3, 3, 3, END]]
    sequences += [[39], [38, END], [4, 39, 39, 39, 39, 39, 39]]
    width = max(map(len, sequences))
    written = torch.tensor([[*sequence, *[END] * (width - len(sequence))] for sequence in sequences])
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    assert find_items(trie, written, lengths).tolist() == [indices.get(tuple(s), -1) for s in sequences]
    assert generated_lengths(torch.tensor([[4, END, END], [4, 5, 6], [END, 4, END]]), END).tolist() == [2, 3, 1]


@pytest.mark.parametrize("sampling", [Beam(), Multinomial()])
def test_one_token_tree_scores_the_candidates(sampling: FreeSampling) -> None:
    model, prompts = tiny_model("llama"), random_prompts(4, torch.Generator().manual_seed(3))
    found = generate_freely(TreeModel(model), build_trie(ITEMS), END, prompts, 6, sampling=sampling, seed=5)
    tree = group_tree(found.trie, prompts, found.candidates, "vocab", torch.float32)
    scores = TreeLogProbs(TreeModel(model))(tree).sum(2)
    for row, prompt in enumerate(prompts):
        expected = [sequence_log_prob(model, prompt, found.trie.item(n)) for n in found.candidates[row].tolist()]
        assert scores[row].tolist() == pytest.approx(expected, abs=1e-4)
        if isinstance(sampling, Beam):
            assert (scores[row].diff() < 1e-4).all()


def test_every_token_that_runs_is_counted() -> None:
    model, trie = TreeModel(tiny_model("llama")), build_trie([[5, 6, 7, END]])
    prompts = [[4, 5, 6], [9]]
    # 2 prompts, padded to 3, 5 copies each, then one token per step and copy; the last of the 4 is never run
    found = generate_freely(model, trie, END, prompts, 5, sampling=Multinomial(), seed=0)
    assert found.trie.max_length == 4
    assert found.forwarded == 2 * 5 * (3 + 3)


def test_codes_without_an_end_token_are_refused(world_catalog: CatalogIndex, world_items: pd.DataFrame) -> None:
    with pytest.raises(RereError, match="code: title"):
        item_end(world_catalog)  # prefix
    catalog = build_index(world_items, IndexConfig(backbone=TINY, code=TitleCode()))
    assert {tokens[-1] for tokens in catalog.item_tokens} == {item_end(catalog)}
