"""Each supported architecture against its own plain forward and stock `generate`; others are refused at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.errors import RereError
from rere.models.attention import NAME, own_attention
from rere.models.prefix_cache import PrefixCache
from rere.models.tree_attention import TreeModel, check_engine
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from tests.decoding.test_beam import END, VOCABULARY, random_items, random_prompts
from tests.oracles import item_log_probs, stock_beam_search

LIKE_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
# Caps and windows so small that random weights feel them.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LIKE_LLAMA),
    "qwen2": ("qwen2", LIKE_LLAMA),
    "qwen2, windows": ("qwen2", LIKE_LLAMA | MIXED | {"use_sliding_window": True, "sliding_window": 3}),
    "qwen3": ("qwen3", LIKE_LLAMA | {"head_dim": 8}),
    "mistral": ("mistral", LIKE_LLAMA | {"head_dim": 8, "sliding_window": 4}),
    "gemma": ("gemma", LIKE_LLAMA | {"head_dim": 8}),
    "gemma2": (
        "gemma2",
        LIKE_LLAMA
        | MIXED
        | {"head_dim": 8, "sliding_window": 3, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
    ),
    "gemma3": ("gemma3_text", LIKE_LLAMA | MIXED | {"head_dim": 8, "sliding_window": 3}),
    "granite": (
        "granite",
        LIKE_LLAMA | {"logits_scaling": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5},
    ),
    "cohere": ("cohere", LIKE_LLAMA | {"logit_scale": 0.3}),
    "phi": ("phi", {**LIKE_LLAMA, "num_key_value_heads": 4}),
    "phi3": ("phi3", LIKE_LLAMA | {"sliding_window": 4, "pad_token_id": 0}),
    "olmo2": ("olmo2", LIKE_LLAMA),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("gpt_neox", {k: v for k, v in LIKE_LLAMA.items() if k != "num_key_value_heads"}),
    "opt": (
        "opt",
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 16,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
        },
    ),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon": ("falcon", FALCON),
    "falcon, alibi": ("falcon", FALCON | {"alibi": True}),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gptj": ("gptj", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2}),
}


def tiny(kind: str, options: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """Two layers; weights drawn wide enough that scores differ, and not one of them forgotten."""
    common = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": END, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **(common | options))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight + torch.randn(weight.shape, generator=generator) * 0.3)
    return model


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_items_and_scores_as_stock_generate(name: str, normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(1)
    model = tiny(*ARCHITECTURES[name])
    items, prompts = random_items(40, generator), random_prompts(12, generator)
    expected = [stock_beam_search(model, items, prompt, 4, normalisation) for prompt in prompts]
    trie, cache = build_trie(items), PrefixCache(1000)
    plain = SearchSettings(beams=4, normalisation=normalisation)
    ahead = SearchSettings(beams=4, normalisation=normalisation, lookahead_tokens=100_000)
    searches = [beam_search(TreeModel(model), trie, prompts, settings) for settings in (plain, ahead)]
    searches += [beam_search(TreeModel(model), trie, prompts, plain, prefixes=cache) for _ in range(2)]
    assert cache.found > 0
    for found in searches:
        for row, pairs in enumerate(expected):
            assert found.items[row, : len(pairs)].tolist() == [item for item, _ in pairs]
            scores = torch.tensor([score for _, score in pairs])
            torch.testing.assert_close(found.scores[row, : len(pairs)], scores, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_log_probabilities_and_gradients_as_a_forward_each(name: str, normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(2)
    model = tiny(*ARCHITECTURES[name]).double()
    items, prompts = random_items(30, generator), random_prompts(4, generator)
    groups = torch.stack([torch.randperm(30, generator=generator)[:5] for _ in prompts])
    own = [
        [item_log_probs(model, items, item, prompt, normalisation).sum() for item in group]
        for prompt, group in zip(prompts, groups.tolist(), strict=True)
    ]
    expected = torch.stack([torch.stack(row) for row in own])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(expected.exp().sum(), weights, allow_unused=True)

    tree = group_tree(build_trie(items), prompts, groups, normalisation, torch.float64)
    found = TreeLogProbs(TreeModel(model))(tree).sum(2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    for ours, theirs in zip(torch.autograd.grad(found.exp().sum(), weights, allow_unused=True), gradients, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "mistral", "phi3", "qwen2, windows"])
@torch.no_grad()
def test_a_plain_batch_has_caps_and_windows_too(name: str) -> None:
    """SFT trains with the same function; a mask of its own (rows by sequence) does not switch a window off."""
    model = tiny(*ARCHITECTURES[name])
    assert own_attention(model.config) == {"attn_implementation": NAME}
    tokens = torch.randint(3, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(3))
    padded = torch.ones_like(tokens)
    padded[1, 8:] = 0
    expected, expected_padded = model(tokens).logits, model(tokens, attention_mask=padded).logits
    model.set_attn_implementation(NAME)
    causal = torch.ones(3, 1, 12, 12, dtype=torch.bool).tril()
    everything = torch.zeros(3, 1, 12, 12).masked_fill(~causal, -torch.inf)
    for mask in (None, causal, everything):
        torch.testing.assert_close(model(tokens, attention_mask=mask).logits, expected, atol=1e-4, rtol=1e-4)
    real = padded.bool()
    torch.testing.assert_close(
        model(tokens, attention_mask=padded).logits[real], expected_padded[real], atol=1e-4, rtol=1e-4
    )


def test_windows_are_felt() -> None:
    """A test of the tests: without its window the model scores otherwise."""
    kind, options = ARCHITECTURES["mistral"]
    items, prompts = random_items(40, torch.Generator().manual_seed(1)), [list(range(3, 15))]
    trie = build_trie(items)
    narrow, wide = (TreeModel(tiny(kind, options | {"sliding_window": width})) for width in (4, None))
    assert narrow.windowed
    assert not wide.windowed
    one, other = (beam_search(model, trie, prompts, SearchSettings(beams=4)).scores for model in (narrow, wide))
    assert not torch.allclose(one, other, atol=1e-2)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused(name: str) -> None:
    model = tiny(*REFUSED[name])
    with pytest.raises(RereError, match="use another architecture"):
        check_engine(model)


def test_a_model_that_was_checked_is_as_it_was() -> None:
    model = tiny(*ARCHITECTURES["llama"])
    model.set_attn_implementation("sdpa")
    model.train()
    check_engine(model)
    assert model.config._attn_implementation == "sdpa"
    assert model.training
