"""The attention function that models run with, over trees of tokens and over plain batches.

Beyond plain softmax it knows soft-capped scores (Gemma 2) and sliding windows (Mistral, Gemma 2 and 3, Phi-3, some
Qwen2). An architecture that asks for anything else is refused.

Axes: B batch, T packed tokens, H heads, Q queries, S keys, D head size.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rere.errors import RereError
from rere.models.packed_batch import Batch, capped_attention

NAME = "rere_tree"
UNKNOWN = ("position_bias", "s_aux", "sinks", "block_indices")  # arguments that change the result


def own_attention(config: Any) -> dict[str, str]:
    """`from_pretrained`'s option for models with soft caps or windows, which stock SDPA ignores in some calls."""
    text = config.get_text_config()
    windowed = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    capped = getattr(text, "attn_logit_softcapping", None)
    return {"attn_implementation": NAME} if windowed or capped else {}


def tree_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_batch: Batch | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend packed queries (1, H, T, D) to their prompts' keys; without a packed_batch, (B, H, Q, D) as stock SDPA.

    Returns:
        (1, T, H, D) or (B, Q, H, D); and None for the attention weights, which are not kept.
    """
    if given := [name for name in UNKNOWN if kwargs.get(name) is not None]:
        raise RereError(
            "a model with softmax attention over earlier tokens",
            f"{type(module).__name__} with `{given[0]}`",
            "use another backbone; docs/configuration.md lists the architectures",
        )
    if packed_batch is not None:
        packed_q, packed_k, packed_v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, H, D)
        layer = cast(int, module.layer_idx)
        mixed = packed_batch.attend(
            layer, packed_q, packed_k, packed_v, scaling, dropout=dropout, softcap=softcap, window=sliding_window
        )
        return mixed[None], None
    attention_mask = _banded(attention_mask, query.shape[2], key.shape[2], sliding_window, query.device)
    if softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    mixed = capped_attention(query, key, value, attention_mask, scaling, dropout=dropout, softcap=softcap)
    return mixed.transpose(1, 2).contiguous(), None


def _banded(
    mask: torch.Tensor | None, queries: int, keys: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Restrict a batch's mask (B, 1, Q, S) to the window.

    transformers does so in the masks it makes, but not in one that the caller made (SFT's rows by sequence).
    """
    if window is None or queries != keys or keys <= window:
        return mask
    position = torch.arange(keys, device=device)
    near = position[:, None] - position < window
    if mask is None:
        return near.tril()[None, None]
    return mask & near if mask.dtype == torch.bool else mask.masked_fill(~near, -torch.inf)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
