"""Stock transformers models over trees of tokens.

All tokens of a forward, of however many prompts, are packed into one row without padding: (1, N). Only
attention needs to know which prompt a token belongs to and what it may see; it gets that as a
`TokenForest` through the models' own keyword arguments, by transformers' attention interface. No model
code is patched, and a call without a forest behaves as plain SDPA.

Axes: P prompts (rows of the key/value store), N packed tokens, Q most queries of a row, S slots of a row,
H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rere.errors import RereError

NAME = "rere_tree"


class KeyValueStore:
    """Keys and values of all layers: (P, H, capacity, D) each; slots are written once and never move."""

    def __init__(self, prompts: int, capacity: int) -> None:
        self.prompts, self.capacity = prompts, capacity
        self.layers: dict[int, tuple[torch.Tensor, ...]] = {}

    def write(self, layer: int, row: torch.Tensor, slot: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keep key and value (N, H, D) at (row, slot)."""
        stores = self.layers.get(layer, (key[:0], value[:0]))
        if stores[0].dim() < 4 or stores[0].shape[2] < self.capacity:  # new, or outgrown
            stores = tuple(self._grown(store, new) for store, new in zip(stores, (key, value), strict=True))
            self.layers[layer] = stores
        for store, new in zip(stores, (key, value), strict=True):
            store[row, :, slot] = new

    def _grown(self, store: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        grown = new.new_zeros((self.prompts, new.shape[1], self.capacity, new.shape[2]))
        if store.dim() == 4:
            grown[:, :, : store.shape[2]] = store
        return grown

    def read(self, layer: int, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views (P, H, slots, D) of the first `slots` slots."""
        key, value = (store[:, :, :slots] for store in self.layers[layer])
        return key, value


@dataclass(frozen=True)
class TokenForest:
    """Where N packed tokens stand, and what they see.

    row, column: (N,) prompt of each token, and its place among that prompt's queries
    prompts, queries: P and Q, the grid that queries are laid out in for attention
    mask: (P, 1, Q, S) additive in the model's dtype; None: causal over the columns
    store, slot, slots: where keys go (N,), and S; no store: keys are those of this forward, S = Q
    """

    row: torch.Tensor
    column: torch.Tensor
    prompts: int
    queries: int
    mask: torch.Tensor | None = None
    store: KeyValueStore | None = None
    slot: torch.Tensor | None = None
    slots: int = 0

    def to_grid(self, packed: torch.Tensor) -> torch.Tensor:
        """(N, H, D) -> (P, H, Q, D), zeros where a row has fewer than Q queries."""
        shape = (self.prompts, self.queries, *packed.shape[1:])
        if len(packed) == self.prompts * self.queries:  # no row is short: packed order is grid order
            return packed.view(shape).transpose(1, 2)
        return packed.new_zeros(shape).index_put((self.row, self.column), packed).transpose(1, 2)

    def from_grid(self, grid: torch.Tensor) -> torch.Tensor:
        """(P, H, Q, D) -> (N, H, D)."""
        grid = grid.transpose(1, 2)
        if len(self.row) == self.prompts * self.queries:
            return grid.reshape(-1, *grid.shape[2:])
        return grid[self.row, self.column]


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
    grid_q = forest.to_grid(packed_q)
    if forest.store is None:
        grid_k, grid_v = forest.to_grid(packed_k), forest.to_grid(packed_v)
    else:
        layer = cast(int, module.layer_idx)
        assert forest.slot is not None
        forest.store.write(layer, forest.row, forest.slot, packed_k, packed_v)
        grid_k, grid_v = forest.store.read(layer, forest.slots)
    out = scaled_dot_product_attention(
        grid_q,
        grid_k,
        grid_v,
        attn_mask=None if forest.mask is None else forest.mask.to(grid_q.dtype),  # autocast may lower the queries
        dropout_p=dropout,
        is_causal=forest.mask is None,
        scale=scaling,
        enable_gqa=grid_q.shape[1] != grid_k.shape[1],
    )
    return forest.from_grid(out)[None], None


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
        if base.config._attn_implementation != NAME:
            base.set_attn_implementation(NAME)
            self._check(base)

    def hidden(self, tokens: torch.Tensor, positions: torch.Tensor, forest: TokenForest) -> torch.Tensor:
        """Final hidden states (N, width) of packed tokens (N,) at positions (N,)."""
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
        zeros = torch.zeros_like(tokens)
        forest = TokenForest(row=zeros, column=torch.arange(6, device=self.device), prompts=1, queries=6)
        ours = self.head(self.hidden(tokens, torch.arange(6, device=self.device), forest))
        stock = base(input_ids=tokens[None]).logits[0]
        base.train(training)
        if not torch.allclose(
            ours.float(), stock.float(), atol=5e-2 if self.dtype != torch.float32 else 1e-3, rtol=1e-2
        ):
            raise RereError(
                "a model whose logits are its head applied to its last hidden state",
                f"{type(base).__name__}, whose logits differ by {(ours - stock).abs().max():.3g}",
                "use Llama, Qwen2, Gemma (1), GPT-2 or a like architecture",
            )
