"""Excluded items against scoring every item and striking them out, and against a catalogue without them."""

from __future__ import annotations

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.exclusion import Exclusions, leaf_positions
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import END, random_items, random_prompts, tiny_model
from tests.oracles import all_sequences, best_allowed, score_all_items, stock_beam_search

ITEMS = all_sequences((5, 6, 7), (1, 2, 3), END)  # 39 items


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_wide_beam_is_the_full_ranking_with_excluded_items_struck_out(normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(0)
    model, trie = tiny_model("qwen2", seed=3), build_trie(ITEMS)
    prompts = random_prompts(5, generator)
    shared = torch.randperm(39, generator=generator)[:6].tolist()
    own = [torch.randperm(39, generator=generator)[:n].tolist() for n in (0, 1, 12, 30, 39)]
    own[1] += own[1] + shared[:2]  # repeats, and items that are gone for everybody
    exclusions = Exclusions.of(trie, leaf_positions(trie, shared), own)
    found = beam_search(
        TreeModel(model), trie, prompts, SearchSettings(beams=39, normalisation=normalisation), exclusions=exclusions
    )
    for row, prompt in enumerate(prompts):
        everything = score_all_items(model, ITEMS, prompt, normalisation)
        expected = best_allowed(everything, {*shared, *own[row]}, 39)
        assert found.items[row].tolist() == expected + [-1] * (39 - len(expected))
        torch.testing.assert_close(found.scores[row, : len(expected)], everything[expected], atol=1e-4, rtol=0)
        assert int(exclusions.left()[row]) == len(expected)
    assert (found.items[4] == -1).all()  # the last prompt may get nothing: no error


@pytest.mark.parametrize("seed", range(4))
def test_narrow_beam_is_that_of_a_catalogue_without_the_items(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model, items = tiny_model("llama", seed), random_items(60, generator)
    trie, prompts = build_trie(items), random_prompts(4, generator)
    gone = torch.randperm(60, generator=generator)[:40].tolist()
    kept = [item for item in range(60) if item not in gone]
    exclusions = Exclusions.of(trie, leaf_positions(trie, gone[:25]), [gone[25:]] * 4)
    found = beam_search(TreeModel(model), trie, prompts, SearchSettings(beams=4), exclusions=exclusions)
    for row, prompt in enumerate(prompts):
        expected = stock_beam_search(model, [items[item] for item in kept], prompt, 4, "vocab")
        assert found.items[row, : len(expected)].tolist() == [kept[item] for item, _ in expected]


def test_a_node_is_closed_only_when_all_below_it_is_excluded() -> None:
    trie = build_trie([[5, 6, END], [5, 7, END], [8, END]])
    exclusions = Exclusions.of(trie, leaf_positions(trie, [0]), [[1], [2]])
    five, eight = trie.walk([5]), trie.walk([8])
    closed = exclusions.closes(trie, torch.tensor([0, 1, 0, 1]), torch.tensor([five, five, eight, eight]))
    assert closed.tolist() == [True, False, False, True]
    assert exclusions.left().tolist() == [1, 1]
