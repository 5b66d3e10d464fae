"""Stock transformers models over trees of tokens.

All tokens of a forward, of however many prompts, are packed into one row without padding: (1, N). Only
attention needs to know which prompt a token belongs to and what it may see; it gets that as a
`TokenForest` through the models' own keyword arguments, by transformers' attention interface. No model
code is patched, and a call without a forest behaves as plain SDPA.

Axes: N packed tokens, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rere.errors import RereError
from rere.models.context import context_of, require_room
from rere.models.fast_llama import LeanBody
from rere.models.packed_batch import TokenForest

NAME = "rere_tree"


def _tree_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    forest: TokenForest | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed queries (1, H, N, D) over their own prompt's keys."""
    if forest is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if kwargs.get("softcap") is not None or kwargs.get("position_bias") is not None or kwargs.get("sliding_window"):
        raise RereError(
            "a model with plain softmax attention over all earlier tokens",
            f"soft-capped, biased or sliding-window attention in {type(module).__name__}",
            "use a model without it (Llama, Qwen2, Gemma, GPT-2, SmolLM2 have none)",
        )
    packed_q, packed_k, packed_v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (N, H, D)
    layer = cast(int, module.layer_idx)
    return forest.attend(layer, packed_q, packed_k, packed_v, scaling, dropout)[None], None


AttentionInterface.register(NAME, _tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


class TreeModel:
    """A causal language model, split into its body (tokens -> hidden states) and its head.

    The head is evaluated elsewhere, and only where it is needed. Creating one switches the model's
    attention to the registered function, and checks once that body and head together give the model's own
    logits: a model that scales or caps its logits is refused rather than mis-scored.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        base = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
        self.model = model
        self.body = cast(Callable[..., Any], base.get_decoder())
        self.head = cast(nn.Linear, base.get_output_embeddings())
        self.device, self.dtype = self.head.weight.device, self.head.weight.dtype
        self.context = context_of(base.config)
        self.lean = LeanBody.of(base.get_decoder())
        if base.config._attn_implementation != NAME:
            base.set_attn_implementation(NAME)
            self._check(base)

    def require_room(self, tokens: int) -> None:
        """Raises RereError where a prompt and an item of so many tokens are more than the model reads."""
        require_room(self.context, tokens)

    def hidden(self, tokens: torch.Tensor, positions: torch.Tensor, forest: TokenForest) -> torch.Tensor:
        """Final hidden states (N, width) of packed tokens (N,) at positions (N,)."""
        bare = not torch.is_grad_enabled() and not torch.is_autocast_enabled(self.device.type)
        if self.lean is not None and bare and not self.model.training:
            return self.lean(tokens, positions, forest)
        return self._stock(tokens, positions, forest)

    def _stock(self, tokens: torch.Tensor, positions: torch.Tensor, forest: TokenForest) -> torch.Tensor:
        """The model's own forward."""
        ignored = torch.empty((1, 1, 1, 1), dtype=self.dtype, device=tokens.device)  # a 4-D mask is taken as it is
        out = self.body(
            input_ids=tokens[None],
            position_ids=positions[None],
            attention_mask=ignored,
            use_cache=False,
            forest=forest,
        )
        return out.last_hidden_state[0]

    @torch.no_grad()
    def _check(self, base: PreTrainedModel) -> None:
        training = base.training
        base.eval()
        tokens = torch.arange(3, 9, device=self.device)
        zeros, places = torch.zeros_like(tokens), torch.arange(6, device=self.device)
        forest = TokenForest(row=zeros, column=places, prompts=1, queries=6)
        stock = base(input_ids=tokens[None]).logits[0]
        for way in (self._stock, self.lean) if self.lean is not None else (self._stock,):
            ours = self.head(way(tokens, places, forest))
            if not torch.allclose(
                ours.float(), stock.float(), atol=5e-2 if self.dtype != torch.float32 else 1e-3, rtol=1e-2
            ):
                raise RereError(
                    "a model whose logits are its head applied to its last hidden state",
                    f"{type(base).__name__}, whose logits differ by {(ours - stock).abs().max():.3g}",
                    "use Llama, Qwen2, Gemma (1), GPT-2 or a like architecture",
                )
        base.train(training)
