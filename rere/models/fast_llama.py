"""A short inference forward for Qwen2 and Llama: one function call per tensor operation.

transformers' own forward spends about a millisecond per call on modules, masks and keyword arguments: most of a small
model's step. This one uses the same weights and formulas, for inference only. `TreeModel` compares it with the
model's own forward at first use; other architectures, adapters, training and autocast use the model's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, linear, rms_norm
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model

from rere.models.packed_batch import Batch

FIXED_ROPE = ("default", "linear", "llama3", "yarn")  # angles that depend on the position alone


class FastLlama:
    """Final hidden states of packed tokens. Weights are read at each call, since training may change them."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.cos = self.sin = torch.empty((0, 1, 1))

    @classmethod
    def of(cls, body: Any) -> FastLlama | None:
        """The forward for a supported model; None for all others."""
        if type(body) not in (LlamaModel, Qwen2Model) or body.config.rope_parameters["rope_type"] not in FIXED_ROPE:
            return None
        if any(getattr(layer.self_attn, "sliding_window", None) for layer in body.layers):
            return None
        plain = all(type(part) is nn.Linear for name, part in body.named_modules() if name.endswith("_proj"))
        return cls(body) if plain else None

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, packed_batch: Batch) -> torch.Tensor:
        """(N, width) from tokens (N,) at positions (N,)."""
        hidden = embedding(tokens, self.body.embed_tokens.weight)
        cos, sin = self._angles(positions, hidden)
        for layer in self.body.layers:
            attention, mlp = layer.self_attn, layer.mlp
            normed = _norm(hidden, layer.input_layernorm)
            query, key, value = (
                _linear(normed, part).unflatten(1, (-1, attention.head_dim))
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            mixed = packed_batch.attend(
                attention.layer_idx, _rotated(query, cos, sin), _rotated(key, cos, sin), value, attention.scaling
            )
            hidden = hidden + _linear(mixed.flatten(1), attention.o_proj)
            normed = _norm(hidden, layer.post_attention_layernorm)
            gate = mlp.act_fn(_linear(normed, mlp.gate_proj))
            hidden = hidden + _linear(gate * _linear(normed, mlp.up_proj), mlp.down_proj)
        return _norm(hidden, self.body.norm)

    def _angles(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin (N, 1, D) of the model's rotary embedding; cached for all positions so far.

        The first half of sin is negated: then x · cos + (x rolled by half) · sin is the rotation.
        """
        needed = int(positions.max()) + 1
        if needed > len(self.cos) or self.cos.dtype != like.dtype:
            every = torch.arange(2 * needed, device=like.device)
            cos, sin = self.body.rotary_emb(like, every[None])
            first, second = sin.chunk(2, dim=-1)
            sin = torch.cat([-first, second], -1)
            self.cos, self.sin = cos[0][:, None], sin[0][:, None]
        return self.cos[positions], self.sin[positions]


def _linear(hidden: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    return linear(hidden, layer.weight, layer.bias)


def _norm(hidden: torch.Tensor, norm: Any) -> torch.Tensor:
    if hidden.dtype != torch.float32:  # the model's own norm computes in float32
        return norm(hidden)
    return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply the rotary embedding to heads (N, H, D)."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)
