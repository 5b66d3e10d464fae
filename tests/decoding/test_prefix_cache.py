"""Searches that find a prompt's beginning in the cache against searches without one."""

from __future__ import annotations

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.config.decoding import SearchSettings
from rere.decoding.beam import beam_search
from rere.models.packed_batch import KVCache
from rere.models.prefix_cache import BLOCK, PrefixCache
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import VOCABULARY, random_items, tiny_model


def histories(generator: torch.Generator) -> list[list[int]]:
    """Ragged prompts of 1 to 40 tokens, some the beginning of others."""
    long = (3 + torch.randint(0, VOCABULARY - 3, (3, 40), generator=generator)).tolist()
    cuts = torch.randint(1, 41, (12,), generator=generator).tolist()
    return [long[n % 3][:cut] for n, cut in enumerate(cuts)]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("tokens", [10_000, 4 * BLOCK])  # all fits; blocks are thrown out all the time
def test_same_items_and_scores_as_without(architecture: str, tokens: int) -> None:
    generator = torch.Generator().manual_seed(1)
    model, cache = TreeModel(tiny_model(architecture)), PrefixCache(tokens)
    trie = build_trie(random_items(50, generator))
    for _ in range(4):
        prompts = histories(generator)[:5]
        plain = beam_search(model, trie, prompts, SearchSettings(beams=4))
        found = beam_search(model, trie, prompts, SearchSettings(beams=4), prefixes=cache)
        assert found.items.tolist() == plain.items.tolist()
        torch.testing.assert_close(found.scores, plain.scores, atol=1e-4, rtol=0)
        assert found.required == plain.required


def test_only_the_new_end_of_a_prompt_is_run() -> None:
    generator = torch.Generator().manual_seed(2)
    model, cache = TreeModel(tiny_model("qwen2")), PrefixCache(1000)
    trie = build_trie(random_items(30, generator))
    prompt = (3 + torch.randint(0, VOCABULARY - 3, (5 * BLOCK,), generator=generator)).tolist()
    first = beam_search(model, trie, [prompt[: 3 * BLOCK + 2]], SearchSettings(beams=2), prefixes=cache)
    again = beam_search(model, trie, [prompt[: 3 * BLOCK + 2]], SearchSettings(beams=2), prefixes=cache)
    assert first.forwarded - again.forwarded == 3 * BLOCK
    assert (cache.asked, cache.found) == (2 * (3 * BLOCK + 2), 3 * BLOCK)
    beam_search(model, trie, [prompt, prompt[:BLOCK]], SearchSettings(beams=2), prefixes=cache)
    assert cache.found == 6 * BLOCK  # a prompt of one block: its last token, so the block, is run


def test_equal_blocks_after_different_beginnings_are_not_mistaken() -> None:
    generator = torch.Generator().manual_seed(3)
    model, cache = TreeModel(tiny_model("llama")), PrefixCache(1000)
    trie = build_trie(random_items(30, generator))
    same = [7] * (BLOCK + 1)
    for start in ([4] * BLOCK, [5] * BLOCK):
        plain = beam_search(model, trie, [start + same], SearchSettings(beams=3))
        found = beam_search(model, trie, [start + same], SearchSettings(beams=3), prefixes=cache)
        torch.testing.assert_close(found.scores, plain.scores, atol=1e-4, rtol=0)


def test_a_search_after_one_that_ran_out_of_memory_finds_what_it_would_without() -> None:
    generator = torch.Generator().manual_seed(4)
    model, cache = TreeModel(tiny_model("qwen2")), PrefixCache(1000)
    trie = build_trie(random_items(30, generator))
    prompt = (3 + torch.randint(0, VOCABULARY - 3, (3 * BLOCK,), generator=generator)).tolist()
    plain = beam_search(model, trie, [prompt], SearchSettings(beams=3))
    store, config = KVCache(1, 4 * BLOCK), model.base.config
    heads = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    whole, cut = (torch.randn(1, tokens, *heads, generator=generator) for tokens in (4 * BLOCK, BLOCK))
    store.layers = dict.fromkeys(range(config.num_hidden_layers - 1), (whole, whole))
    store.layers[config.num_hidden_layers - 1] = cut, cut
    with pytest.raises(IndexError):
        cache.keep([prompt], store)
    found = beam_search(model, trie, [prompt], SearchSettings(beams=3), prefixes=cache)
    assert found.items.tolist() == plain.items.tolist()
    torch.testing.assert_close(found.scores, plain.scores, atol=1e-4, rtol=0)
    assert cache.found == 0
