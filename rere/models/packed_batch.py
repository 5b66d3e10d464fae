"""Packed tokens of many prompts: the position of each, what it may attend to, and the cache of keys and values.

Axes: P prompts (rows of the key/value store), T packed tokens, Q most queries of a row, S slots of a row,
H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch.nn.functional import dropout as dropped
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Num, Shaped
    from torch import Tensor


class KVCache:
    """Keys and values of all layers: (P, capacity, H, D) each; slots are written once and never move.

    A slot's index is row · capacity + slot; it is valid until the cache grows.
    """

    def __init__(self, prompts: int, capacity: int) -> None:
        self.prompts, self.capacity = prompts, capacity
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def reserve(self, slots: int) -> None:
        """Make room for `slots` slots per row."""
        if slots > self.capacity:
            self.capacity = slots + slots // 2  # grow by half as much again, so that growing is rare
            self.layers = {n: (self._grown(key), self._grown(value)) for n, (key, value) in self.layers.items()}

    def write(
        self, layer: int, index: Int[Tensor, " T"], key: Float[Tensor, "T H D"], value: Float[Tensor, "T H D"]
    ) -> None:
        """Keep key and value (T, H, D) at slot indices (T,)."""
        if layer not in self.layers:  # zeros: what is masked out is still multiplied by 0
            shape = (self.prompts, self.capacity, *key.shape[1:])
            self.layers[layer] = key.new_zeros(shape), value.new_zeros(shape)
        for store, new in zip(self.layers[layer], (key, value), strict=True):
            store.view(-1, *new.shape[1:]).index_copy_(0, index, new)

    def read(self, layer: int, slots: int) -> tuple[Float[Tensor, "P H S D"], Float[Tensor, "P H S D"]]:
        """Views (P, H, slots, D) of the first `slots` slots."""
        key, value = self.layers[layer]
        return key[:, :slots].transpose(1, 2), value[:, :slots].transpose(1, 2)

    def _grown(self, store: torch.Tensor) -> torch.Tensor:
        grown = store.new_zeros((self.prompts, self.capacity, *store.shape[2:]))
        grown[:, : store.shape[1]] = store
        return grown


class Batch(Protocol):
    """What a model's attention needs of packed tokens."""

    def at(self, positions: Int[Tensor, " T"], slot_positions: Int[Tensor, "P S"] | None) -> Self:
        """The same batch with the positions of its tokens (T,) and of its store's keys (P, S)."""
        ...

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "T H D"],
        key: Float[Tensor, "keys H D"],
        value: Float[Tensor, "keys H D"],
        scaling: float | None,
        *,
        dropout: float = 0.0,
        softcap: float | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "T H D"]:
        """Attention of packed queries (T, H, D) over what each may see: (T, H, D)."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """The layout of T packed tokens, and what they may attend to.

    row, column: (T,) prompt of each token, and its index among that prompt's queries
    prompts, queries: P and Q, the grid that queries are laid out in for attention
    mask: (P, 1, Q, S) additive in the model's dtype; None: causal over the columns
    store, slot_index, slots: the cache, the slot indices (T,) to write keys to, and S; without a store the keys are
        those of this forward and S = Q
    source: (P, S) indices of each row's keys among this forward's, if they are not those of the row's own queries
    positions, slot_positions: (T,) of the tokens and (P, S) of the keys (without a store: the tokens' own), counted
        from the prompt's first token; only models with sliding windows read them
    """

    row: Int[Tensor, " T"]
    column: Int[Tensor, " T"]
    prompts: int
    queries: int
    mask: Float[Tensor, "P 1 Q S"] | None = None
    store: KVCache | None = None
    slot_index: Int[Tensor, " T"] | None = None
    slots: int = 0
    source: Int[Tensor, "P S"] | None = None
    positions: Int[Tensor, " T"] | None = None
    slot_positions: Int[Tensor, "P S"] | None = None
    _bands: dict[int, Float[Tensor, "P 1 Q S"] | None] = field(default_factory=dict, repr=False)

    def at(self, positions: Int[Tensor, " T"], slot_positions: Int[Tensor, "P S"] | None) -> PackedBatch:
        return replace(self, positions=positions, slot_positions=slot_positions, _bands={})

    def to_grid(self, packed: Num[Tensor, "T H D"]) -> Num[Tensor, "P H Q D"]:
        """(T, H, D) -> (P, H, Q, D), zero where a row has fewer than Q queries."""
        shape = (self.prompts, self.queries, *packed.shape[1:])
        if len(packed) == self.prompts * self.queries:  # no row is short: packed order is grid order
            return packed.view(shape).transpose(1, 2)
        return packed.new_zeros(shape).index_put((self.row, self.column), packed).transpose(1, 2)

    def from_grid(self, grid: Float[Tensor, "P H Q D"]) -> Float[Tensor, "T H D"]:
        """(P, H, Q, D) -> (T, H, D)."""
        grid = grid.transpose(1, 2)
        if len(self.row) == self.prompts * self.queries:
            return grid.reshape(-1, *grid.shape[2:])
        return grid[self.row, self.column]

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "T H D"],
        key: Float[Tensor, "keys H D"],
        value: Float[Tensor, "keys H D"],
        scaling: float | None,
        *,
        dropout: float = 0.0,
        softcap: float | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "T H D"]:
        """Attention of packed queries (T, H, D) over their own prompts' keys: (T, H, D).

        Args:
            softcap: a tanh keeps scores within (-softcap, softcap).
            window: a token attends to keys fewer than this many positions before it.
        """
        grid_q = self.to_grid(query)
        if self.source is not None:
            grid_k, grid_v = self._gathered(key), self._gathered(value)
        elif self.store is None:
            grid_k, grid_v = self.to_grid(key), self.to_grid(value)
        else:
            assert self.slot_index is not None
            self.store.write(layer, self.slot_index, key, value)
            grid_k, grid_v = self.store.read(layer, self.slots)
        mask = self.mask if window is None else self._band(window)
        if mask is not None:
            mask = mask.to(grid_q.dtype)  # autocast may lower the queries
        if softcap is not None:
            return self.from_grid(
                capped_attention(grid_q, grid_k, grid_v, mask, scaling, dropout=dropout, softcap=softcap)
            )
        out = scaled_dot_product_attention(
            grid_q,
            grid_k,
            grid_v,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=grid_q.shape[1] != grid_k.shape[1],
        )
        return self.from_grid(out)

    def _gathered(self, packed: Float[Tensor, "keys H D"]) -> Float[Tensor, "P H S D"]:
        """(any, H, D) -> (P, H, S, D) of each row's keys."""
        assert self.source is not None
        # Not by indexing: its gradient adds single numbers, while that of `index_select` adds whole slices.
        return packed.index_select(0, self.source.flatten()).unflatten(0, self.source.shape).transpose(1, 2)

    def _band(self, window: int) -> Float[Tensor, "P 1 Q S"] | None:
        """The mask within a window, made once for all layers; unchanged if no two tokens are that far apart."""
        if window not in self._bands:
            assert self.positions is not None
            query = self.to_grid(self.positions[:, None, None])  # (P, 1, Q, 1)
            key = query.transpose(2, 3) if self.slot_positions is None else self.slot_positions[:, None, None]
            far = query - key >= window
            mask = self.mask
            if far.any():
                mask = _causal(self.queries, self.queries, query.device) if mask is None else mask
                mask = mask.masked_fill(far, -torch.inf)
            self._bands[window] = mask
        return self._bands[window]


def capped_attention(
    query: Float[Tensor, "P H Q D"],
    key: Float[Tensor, "P kv_heads S D"],
    value: Float[Tensor, "P kv_heads S D"],
    mask: Shaped[Tensor, "P 1 Q S"] | None,
    scaling: float | None,
    *,
    dropout: float,
    softcap: float,
) -> Float[Tensor, "P H Q D"]:
    """Attention with soft-capped scores (Gemma 2, arXiv 2408.00118), which no fused kernel has.

    Args:
        query: (P, H, Q, D); key, value: (P, H or a divisor of it, S, D).
        mask: (P, 1, Q, S), additive, or True where attended; None: causal, the last query at the last key.

    Returns:
        (P, H, Q, D)
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        mask = _causal(scores.shape[2], scores.shape[3], scores.device)
    elif mask.dtype == torch.bool:
        # Not -inf: a padding row that attends to nothing would become NaN.
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
    precision = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores.to(precision) + mask, -1).to(query.dtype)
    return dropped(weights, dropout) @ value


def _causal(queries: int, keys: int, device: torch.device) -> Float[Tensor, "Q S"]:
    """(Q, S) additive: each query attends to the keys up to its own; the last query to all."""
    hidden = torch.full((queries, keys), -torch.inf, device=device)
    return hidden.triu(keys - queries + 1)
