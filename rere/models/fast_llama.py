"""A short inference forward for Qwen2 and Llama: one function call per tensor operation.

transformers' own forward spends about a millisecond per call on modules, masks and keyword arguments: most of a small
model's step. This one uses the same weights and formulas, for inference only. `TreeModel` compares it with the
model's own forward at first use; other architectures, adapters, training and autocast use the model's own.

Each layer consists of two regions with the attention between them. Only attention depends on how tokens are packed, so
the regions can be compiled for any number of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import embedding, linear, rms_norm
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model

from rere.models.packed_batch import Batch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

FIXED_ROPE = ("default", "linear", "llama3", "yarn")  # angles that depend on the position alone


class FastLlama:
    """Final hidden states of packed tokens. Weights are read at each call, since training may change them."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.cos = self.sin = torch.empty((0, 1, 1))
        self.before, self.after = _before, _after

    @classmethod
    def of(cls, body: Any) -> FastLlama | None:
        """The forward for a supported model; None for all others."""
        if type(body) not in (LlamaModel, Qwen2Model) or body.config.rope_parameters["rope_type"] not in FIXED_ROPE:
            return None
        if any(getattr(layer.self_attn, "sliding_window", None) for layer in body.layers):
            return None
        kinds = {type(part) for name, part in body.named_modules() if name.endswith("_proj")} - {nn.Linear}
        if kinds:
            from torch.ao.nn.quantized.dynamic import Linear as RoundedLinear

            return cls(body) if kinds == {RoundedLinear} else None
        return cls(body)

    def __call__(
        self, tokens: Int[Tensor, " T"], positions: Int[Tensor, " T"], packed_batch: Batch
    ) -> Float[Tensor, "T width"]:
        """(T, width) from tokens (T,) at positions (T,)."""
        hidden = embedding(tokens, self.body.embed_tokens.weight)
        cos, sin = self._angles(positions, hidden)
        for layer in self.body.layers:
            attention = layer.self_attn
            query, key, value = self.before(hidden, cos, sin, layer)
            mixed = packed_batch.attend(attention.layer_idx, query, key, value, attention.scaling)
            hidden = self.after(hidden, mixed, layer)
        return _norm(hidden, self.body.norm)

    def compile(self) -> None:
        """Compile the regions, for any number of tokens; the first calls take seconds."""
        self.before = torch.compile(_before, dynamic=True)
        self.after = torch.compile(_after, dynamic=True)

    def _angles(
        self, positions: Int[Tensor, " T"], like: Float[Tensor, "T width"]
    ) -> tuple[Float[Tensor, "T 1 D"], Float[Tensor, "T 1 D"]]:
        """cos and sin (T, 1, D) of the model's rotary embedding.

        The first half of sin is negated, so that the rotation is x · cos + (x rolled by half) · sin. On a CPU they are
        cached for all positions so far; on a GPU, finding the largest position would synchronise.
        """
        if like.device.type != "cpu":
            return self._rotary(positions, like)
        needed = int(positions.max()) + 1
        if needed > len(self.cos) or self.cos.dtype != like.dtype:
            self.cos, self.sin = self._rotary(torch.arange(2 * needed), like)
        return self.cos[positions], self.sin[positions]

    def _rotary(
        self, positions: Int[Tensor, " T"], like: Float[Tensor, "T width"]
    ) -> tuple[Float[Tensor, "T 1 D"], Float[Tensor, "T 1 D"]]:
        cos, sin = self.body.rotary_emb(like, positions[None])
        first, second = sin.chunk(2, dim=-1)
        sin = torch.cat([-first, second], -1)
        return cos[0][:, None], sin[0][:, None]


def _before(
    hidden: Float[Tensor, "T width"], cos: Float[Tensor, "T 1 D"], sin: Float[Tensor, "T 1 D"], layer: Any
) -> tuple[Float[Tensor, "T H D"], Float[Tensor, "T H D"], Float[Tensor, "T H D"]]:
    """Queries, keys and values (T, H, D) of a layer's attention, from hidden states (T, width)."""
    attention = layer.self_attn
    normed = _norm(hidden, layer.input_layernorm)
    query, key, value = (
        _linear(normed, part).unflatten(1, (-1, attention.head_dim))
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    return _rotated(query, cos, sin), _rotated(key, cos, sin), value


def _after(hidden: Float[Tensor, "T width"], mixed: Float[Tensor, "T H D"], layer: Any) -> Float[Tensor, "T width"]:
    """A layer's hidden states, from those before it and what its attention mixed (T, H, D)."""
    mlp = layer.mlp
    hidden = hidden + _linear(mixed.flatten(1), layer.self_attn.o_proj)
    normed = _norm(hidden, layer.post_attention_layernorm)
    gate = mlp.act_fn(_linear(normed, mlp.gate_proj))
    return hidden + _linear(gate * _linear(normed, mlp.up_proj), mlp.down_proj)


def _linear(hidden: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    if type(layer) is not nn.Linear:
        return layer(hidden)
    return linear(hidden, layer.weight, layer.bias)


def _norm(hidden: torch.Tensor, norm: Any) -> torch.Tensor:
    if hidden.dtype != torch.float32:  # the model's own norm computes in float32
        return norm(hidden)
    return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _rotated(
    heads: Float[Tensor, "T H D"], cos: Float[Tensor, "T 1 D"], sin: Float[Tensor, "T 1 D"]
) -> Float[Tensor, "T H D"]:
    """Apply the rotary embedding to heads (T, H, D)."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)
