"""Prompts that share their history: a run of one user's items is a trunk, and each prompt branches off it.

A prompt attends to the instruction, the trunk's last `history_items` items before it, and its own continuation: the
mask of supervised fine-tuning by sequence. These are exactly the tokens of its window, but an item that is in ten
windows is run once. Through the layers a prompt still receives a little from earlier items, as in fine-tuning by
sequence. A trunk with one prompt equals that prompt's window to the last digit.

Axes: T tokens of all trunks, Q tokens of the longest trunk, P prompts, S tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rere.models.packed_batch import KVCache, PackedBatch
from rere.models.ragged import ragged_arange
from rere.models.tree_attention import TreeModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

HEAD = -1  # the "item" of the tokens before the history: every token attends to it
PADDING = 1 << 30  # an item that no real token attends to, and that attends to itself


def item_mask(item: Int[Tensor, "rows S"], history_items: int) -> Bool[Tensor, "rows S S"]:
    """Which tokens each token attends to, given the item of each, counted from the row's start.

    A token attends to earlier tokens of the head, of its own item and of the `history_items` items before that.
    """
    near = item[:, :, None] - item[:, None, :] <= history_items
    return (near | (item[:, None, :] == HEAD)).tril()


@dataclass(frozen=True)
class Trunks:
    """Trunks and the P prompts that branch off them, in order of the trunks.

    tokens, trunk, column: (T,) tokens, one trunk after another; the trunk of each, and its index in the trunk
    mask: (trunks, Q, Q) bool, which tokens each token attends to
    lengths: (P,) tokens of each prompt: as many as its window has
    source: (P, S) index of each of a prompt's tokens among the T; 0 beyond the prompt's end
    ends: (P,) index of each prompt's last token among the T
    """

    tokens: Int[Tensor, " T"]
    trunk: Int[Tensor, " T"]
    column: Int[Tensor, " T"]
    mask: Bool[Tensor, "trunks Q Q"]
    lengths: Int[Tensor, " P"]
    source: Int[Tensor, "P S"]
    ends: Int[Tensor, " P"]

    @classmethod
    def of(
        cls,
        heads: Sequence[Sequence[int]],
        walks: Sequence[Sequence[Sequence[int]]],
        branch_points: Sequence[Sequence[int]],
        history_items: int,
        device: torch.device | str = "cpu",
    ) -> Trunks:
        """Lay trunks out.

        Args:
            heads: for each trunk, the tokens before its items.
            walks: each trunk's items, oldest first, as tokens.
            branch_points: for each trunk, how many of its items precede each of its prompts: at least 1.
            history_items: items that a prompt attends to.
        """
        tokens: list[int] = []
        items: list[torch.Tensor] = []
        # per prompt: first token of its trunk and of its history; tokens of its head; its length
        starts, firsts, before, lengths = [], [], [], []
        for head, walk, own in zip(heads, walks, branch_points, strict=True):
            begin, offsets = len(tokens), [len(head)]
            tokens += head
            for item in walk:
                tokens += item
                offsets.append(len(tokens) - begin)
            owner = torch.tensor([HEAD, *range(len(walk))])
            items.append(owner.repeat_interleave(torch.tensor([len(head), *map(len, walk)])))
            for branch_point in own:
                first = offsets[max(0, branch_point - history_items)]
                starts.append(begin)
                firsts.append(begin + first)
                before.append(len(head))
                lengths.append(len(head) + offsets[branch_point] - first)
        row, column = ragged_arange(torch.tensor([len(item) for item in items]))
        padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=PADDING)
        prompt, slot = ragged_arange(torch.tensor(lengths))
        source = torch.zeros((len(lengths), max(lengths)), dtype=torch.int64)
        own_head = torch.tensor(before)[prompt]
        source[prompt, slot] = slot + torch.where(
            slot < own_head, torch.tensor(starts)[prompt], torch.tensor(firsts)[prompt] - own_head
        )
        ends = source[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        return cls(
            tokens=torch.tensor(tokens).to(device),
            trunk=row.to(device),
            column=column.to(device),
            mask=item_mask(padded, history_items).to(device),
            lengths=torch.tensor(lengths).to(device),
            source=source.to(device),
            ends=ends.to(device),
        )

    def __len__(self) -> int:
        """P, the number of prompts."""
        return len(self.lengths)

    @property
    def positions(self) -> Int[Tensor, "P S"]:
        """(P, S) position of each prompt's tokens in the trunk; arbitrary beyond the prompt's end."""
        return self.column[self.source]

    @property
    def next_positions(self) -> Int[Tensor, " P"]:
        """(P,) position of the token after each prompt."""
        return self.column[self.ends] + 1

    def packed_batch(self, dtype: torch.dtype, store: KVCache | None = None) -> PackedBatch:
        """The packed forward of the trunks; `store` (trunks, Q) receives their keys and values."""
        additive = torch.zeros(self.mask.shape, dtype=dtype, device=self.mask.device)
        additive = additive.masked_fill(~self.mask, -torch.inf)
        count, width = self.mask.shape[:2]
        slot_index = None if store is None else self.trunk * store.capacity + self.column
        return PackedBatch(
            row=self.trunk,
            column=self.column,
            prompts=count,
            queries=width,
            mask=additive[:, None],
            store=store,
            slot_index=slot_index,
            slots=width,
        )

    def prefill(self, model: TreeModel, store: KVCache) -> Float[Tensor, "P width"]:
        """Run the trunks, and copy the keys and values of each prompt's tokens into its row of `store`.

        Returns:
            (P, width) hidden states at the prompts' last tokens.
        """
        count, width = self.mask.shape[:2]
        own = KVCache(count, width)
        every = torch.arange(width, device=self.mask.device).expand(count, -1)
        hidden = model.hidden(self.tokens, self.column, self.packed_batch(model.dtype, own), every)
        prompt, slot = ragged_arange(self.lengths)
        token = self.source[prompt, slot]
        kept = self.trunk[token] * own.capacity + self.column[token]
        for layer, (key, value) in own.layers.items():
            store.write(layer, prompt * store.capacity + slot, key.flatten(0, 1)[kept], value.flatten(0, 1)[kept])
        return hidden[self.ends]


Prompts = Sequence[Sequence[int]] | Trunks  # P token sequences: separate ones, or branches of trunks
