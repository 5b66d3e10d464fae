"""The language-model head, including the scaling (Granite, Cohere) and capping (Gemma) of its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn.functional import linear as product
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

DIVISORS, FACTORS = ("logits_scaling",), ("logit_scale", "lm_head_multiplier")  # by their names in configs


class ScaledHead(nn.Module):
    """A linear head whose logits are multiplied by `scale`, then soft-capped to (-cap, cap).

    The weights are those of the model, not copies.
    """

    def __init__(self, linear: nn.Linear, scale: float, cap: float | None) -> None:
        super().__init__()
        self.linear, self.scale, self.cap = linear, scale, cap

    @property
    def weight(self) -> Float[Tensor, "V width"]:
        """(vocabulary, width)"""
        return self.linear.weight

    def forward(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... V"]:
        """Logits (..., vocabulary) of hidden states (..., width)."""
        return self.shaped(self.linear(hidden))

    def shaped(self, logits: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        """The linear head's logits, scaled and capped."""
        logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


Head = nn.Linear | ScaledHead


def head_of(model: PreTrainedModel) -> Head:
    """The head that maps last hidden states to the model's own logits; `TreeModel` verifies that it does."""
    linear = cast(nn.Linear, model.get_output_embeddings())
    config = model.config.get_text_config()
    scale = 1.0
    for name in DIVISORS:
        scale /= getattr(config, name, None) or 1.0
    for name in FACTORS:
        scale *= getattr(config, name, None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return linear if scale == 1.0 and cap is None else ScaledHead(linear, scale, cap)


def embedding_weights(model: PreTrainedModel) -> list[nn.Parameter]:
    """The weights (vocabulary, width) of the embedding and of the head; one if they are tied."""
    embedding = cast(nn.Parameter, model.get_input_embeddings().weight)
    head = cast(nn.Parameter, model.get_output_embeddings().weight)
    return [embedding] if head is embedding else [embedding, head]


def logits_of(head: Head, hidden: Float[Tensor, "R width"], tokens: Int[Tensor, " E"]) -> Float[Tensor, "R E"]:
    """Logits (R, E) of some tokens (E,) after hidden states (R, width), without those of the rest of the vocabulary."""
    linear = head.linear if isinstance(head, ScaledHead) else head
    bias = None if linear.bias is None else linear.bias[tokens]
    logits = product(hidden, linear.weight[tokens], bias)
    return head.shaped(logits) if isinstance(head, ScaledHead) else logits


def precise(logits: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """In float32 at least: probabilities are never summed in less."""
    return logits if logits.dtype == torch.float64 else logits.float()
