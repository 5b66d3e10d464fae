"""Prompts that share their history: a user's stretch of items is a trunk, and each prompt branches off it.

A prompt sees the instruction, the trunk's last `history_items` items before it, and its own continuation: the mask of
supervised fine-tuning by sequence. So it has the very tokens of its window, but an item that stands in ten windows is
run once. Through the layers a prompt can still gather a little from further back, as there; a trunk of one prompt is
that prompt's window, to the last digit.

Axes: T trunks, N tokens of all trunks, P prompts, S tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rere.models.child_log_probs import ragged_arange
from rere.models.packed_batch import KVCache, PackedBatch
from rere.models.tree_attention import TreeModel

HEAD = -1  # the "item" of the tokens before the history: visible to all
PADDING = 1 << 30  # an item that no real token sees, and that sees itself


def item_mask(item: torch.Tensor, history_items: int) -> torch.Tensor:
    """(B, L, L) bool: what tokens see, given the item (B, L) that each belongs to, counted from a row's begin.

    Those before it of the head, of its own item and of the `history_items` items before that.
    """
    near = item[:, :, None] - item[:, None, :] <= history_items
    return (near | (item[:, None, :] == HEAD)).tril()


@dataclass(frozen=True)
class Trunks:
    """T trunks and the P prompts that branch off them, in order of the trunks.

    tokens, trunk, column: (N,) tokens, trunk after trunk, and where each stands
    mask: (T, longest trunk, longest trunk) bool, what each token sees
    lengths: (P,) tokens of each prompt, which are its window's
    source: (P, S) index among the N tokens of each of these; 0 beyond the prompt's end
    ends: (P,) index among the N tokens of each prompt's last
    """

    tokens: torch.Tensor
    trunk: torch.Tensor
    column: torch.Tensor
    mask: torch.Tensor
    lengths: torch.Tensor
    source: torch.Tensor
    ends: torch.Tensor

    @classmethod
    def of(
        cls,
        head: Sequence[int],
        walks: Sequence[Sequence[Sequence[int]]],
        places: Sequence[Sequence[int]],
        history_items: int,
        device: torch.device | str = "cpu",
    ) -> Trunks:
        """Lay trunks out.

        Args:
            head: tokens before each history.
            walks: each trunk's items, oldest first, as tokens.
            places: for each trunk, the number of its items that come before each of its prompts: at least 1.
            history_items: items that a prompt sees.
        """
        tokens: list[int] = []
        items: list[torch.Tensor] = []
        starts, firsts, lengths = [], [], []  # of each prompt: its trunk's first token, its history's, its tokens
        for walk, own in zip(walks, places, strict=True):
            begin, offsets = len(tokens), [len(head)]
            tokens += head
            for item in walk:
                tokens += item
                offsets.append(len(tokens) - begin)
            owner = torch.tensor([HEAD, *range(len(walk))])
            items.append(owner.repeat_interleave(torch.tensor([len(head), *map(len, walk)])))
            for place in own:
                first = offsets[max(0, place - history_items)]
                starts.append(begin)
                firsts.append(begin + first)
                lengths.append(len(head) + offsets[place] - first)
        row, column = ragged_arange(torch.tensor([len(item) for item in items]))
        padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=PADDING)
        prompt, slot = ragged_arange(torch.tensor(lengths))
        source = torch.zeros((len(lengths), max(lengths)), dtype=torch.int64)
        in_head = slot < len(head)
        source[prompt, slot] = slot + torch.where(
            in_head, torch.tensor(starts)[prompt], torch.tensor(firsts)[prompt] - len(head)
        )
        ends = source[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        parts = (torch.tensor(tokens), row, column, item_mask(padded, history_items), torch.tensor(lengths))
        return cls(*(part.to(device) for part in (*parts, source, ends)))

    def __len__(self) -> int:
        """P"""
        return len(self.lengths)

    @property
    def positions(self) -> torch.Tensor:
        """(P, S) position of each prompt's tokens, which are the trunk's; what is beyond a prompt's end has any."""
        return self.column[self.source]

    @property
    def next_positions(self) -> torch.Tensor:
        """(P,) position of what follows each prompt."""
        return self.column[self.ends] + 1

    def packed_batch(self, dtype: torch.dtype, store: KVCache | None = None) -> PackedBatch:
        """The trunks' own forward; with a store (T, longest trunk) for their keys and values."""
        hidden = torch.zeros(self.mask.shape, dtype=dtype, device=self.mask.device).masked_fill(~self.mask, -torch.inf)
        count, width = self.mask.shape[:2]
        place = None if store is None else self.trunk * store.capacity + self.column
        return PackedBatch(
            row=self.trunk,
            column=self.column,
            prompts=count,
            queries=width,
            mask=hidden[:, None],
            store=store,
            place=place,
            slots=width,
        )

    def prefill(self, model: TreeModel, store: KVCache) -> torch.Tensor:
        """Run the trunks, and give each prompt's row of `store` the keys and values of its own tokens.

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


Prompts = Sequence[Sequence[int]] | Trunks  # P token sequences, each by itself; or as branches of trunks
