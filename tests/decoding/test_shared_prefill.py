"""Prompts that begin one another, run together, against each by itself."""

from __future__ import annotations

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.models.shared_prefill import SharedPrefill, by_length, chains
from rere.models.tree_attention import TreeModel
from rere.models.trunks import Trunks
from tests.decoding.test_architectures import ARCHITECTURES, tiny
from tests.decoding.test_beam import random_items

PROMPTS = [[7, 8, 9, 4], [7], [5, 6], [7, 8, 9], [5, 6], [7, 8, 10], [9, 9, 9]]


def test_a_chain_holds_prompts_that_begin_one_another() -> None:
    found = chains(PROMPTS)
    assert sorted(place for chain in found for place in chain) == list(range(len(PROMPTS)))
    assert [1, 3, 0] in found
    assert [2, 4] in found  # equal
    assert [5] in found  # begins like others, but isn't begun by the one before
    order = by_length(PROMPTS)
    assert order.index(1) + 2 == order.index(0)
    assert order[-1] == 0  # of the longest chain


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("name", ["llama", "qwen2, windows", "gemma2", "gpt2"])
def test_same_items_and_scores_as_alone_with_fewer_tokens(name: str, normalisation: Normalisation) -> None:
    model, items = TreeModel(tiny(*ARCHITECTURES[name])), random_items(40, torch.Generator().manual_seed(0))
    trie, search = build_trie(items), SearchSettings(beams=len(items), normalisation=normalisation)
    shared = SharedPrefill.of(PROMPTS, model.device)
    assert isinstance(shared.prompts, Trunks)
    found, expected = (beam_search(model, trie, prompts, search) for prompts in (shared.prompts, PROMPTS))
    by_item = [run.scores.gather(1, run.items.argsort(1)) for run in (found, expected)]
    torch.testing.assert_close(shared.restored(by_item[0]), by_item[1], atol=1e-4, rtol=0)
    assert expected.forwarded - found.forwarded == sum(map(len, PROMPTS)) - (4 + 2 + 3 + 3)


def test_nothing_to_share_is_left_as_it_is() -> None:
    prompts = [[5, 6], [7], [8, 9]]
    shared = SharedPrefill.of(prompts, torch.device("cpu"))
    assert shared.prompts is prompts
    assert shared.restored(torch.tensor([3, 1, 2])).tolist() == [3, 1, 2]
