"""The fast forward for Llama against the model's own, and where it must not be used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from rere.errors import RereError
from rere.models.fast_llama import FastLlama
from rere.models.packed_batch import KVCache, PackedBatch
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import tiny_model


def grouped(config: Any, **options: object) -> TreeModel:
    """Two layers whose key heads serve two query heads each; biases and norms drawn, so that none can be forgotten."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(vocab_size=40, num_key_value_heads=2, **sizes, **options)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return TreeModel(model)


def without_the_fast_forward(model: TreeModel) -> TreeModel:
    """The same weights, run by the model's own forward."""
    own = TreeModel(model.model)
    own.fast_llama = None
    return own


def packed(lengths: list[int], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, PackedBatch]:
    rows = torch.cat([torch.full((n,), row) for row, n in enumerate(lengths)])
    columns = torch.cat([torch.arange(n) for n in lengths])
    packed_batch = PackedBatch(rows, columns, len(lengths), max(lengths))
    return torch.randint(3, 40, (sum(lengths),), generator=generator), columns, packed_batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("config", "options"),
    [
        (Qwen2Config, {}),
        (LlamaConfig, {}),
        (LlamaConfig, {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-2, "hidden_act": "gelu"}),
        (LlamaConfig, {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    ],
)
@torch.no_grad()
def test_same_hidden_states_as_the_models_own_forward(config: Any, options: Any, dtype: torch.dtype) -> None:
    model = grouped(config, **options)
    torch.nn.Module.to(model.model, dtype=dtype)
    assert model.fast_llama is not None
    own = without_the_fast_forward(model)
    generator = torch.Generator().manual_seed(1)
    for lengths in ([5, 1, 9], [4, 4], [30]):  # ragged, even, and further than any position before
        tokens, positions, packed_batch = packed(lengths, generator)
        expected = own.hidden(tokens, positions, packed_batch)
        torch.testing.assert_close(model.fast_llama(tokens, positions, packed_batch), expected, atol=1e-5, rtol=1e-5)


def test_trained_weights_are_seen() -> None:
    model = grouped(Qwen2Config)
    tokens, positions, packed_batch = packed([6], torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model.hidden(tokens, positions, packed_batch)
        for weight in model.model.parameters():
            weight.data = weight.data + 0.1  # a new tensor, as `Reference.in_place` puts in
        after = model.hidden(tokens, positions, packed_batch)
        torch.testing.assert_close(
            after, without_the_fast_forward(model).hidden(tokens, positions, packed_batch), atol=1e-5, rtol=1e-5
        )
    assert not torch.allclose(before, after)


def test_only_inference_of_plain_models_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FastLlama.of(tiny_model("gemma").get_decoder()) is None
    assert FastLlama.of(tiny_model("gpt2").get_decoder()) is None
    adapted = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    assert TreeModel(adapted).fast_llama is None
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert grouped(LlamaConfig, rope_parameters=dynamic).fast_llama is None
    windowed: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    assert FastLlama.of(AutoModelForCausalLM.from_config(Qwen2Config(**windowed, **SMALL)).get_decoder()) is None

    model, asked = TreeModel(tiny_model("qwen2")), []
    monkeypatch.setattr(model, "fast_llama", lambda *_: asked.append(True))
    tokens, positions, packed_batch = packed([3], torch.Generator().manual_seed(3))
    assert model.hidden(tokens, positions, packed_batch).requires_grad
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model.hidden(tokens, positions, packed_batch)
    model.model.train()
    with torch.no_grad():
        model.hidden(tokens, positions, packed_batch)
        assert asked == []
        model.model.eval()
        model.hidden(tokens, positions, packed_batch)
    assert asked == [True]


SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_a_forward_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastLlama, "__call__", lambda self, tokens, *_: torch.ones(len(tokens), 16))
    with pytest.raises(RereError, match="logits that differ"):
        TreeModel(tiny_model("llama"))


def test_a_store_that_grows_keeps_what_it_has() -> None:
    store, generator = KVCache(2, 3), torch.Generator().manual_seed(0)
    first, second = torch.randn(4, 2, 5, generator=generator), torch.randn(2, 2, 5, generator=generator)
    store.write(0, torch.tensor([0, 1, 3, 4]), first, -first)  # slots 0 and 1 of both rows
    store.reserve(8)
    assert store.capacity >= 8
    store.write(0, torch.tensor([7, store.capacity + 7]), second, -second)
    key, value = store.read(0, 8)
    assert torch.equal(key[:, :, :2].transpose(1, 2).flatten(0, 1), first)
    assert torch.equal(key[:, :, 7], second)
    assert (key[:, :, 2:7] == 0).all()
    assert torch.equal(value, -key)
