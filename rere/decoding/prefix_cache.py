"""Keys and values of prompts' beginnings, kept between searches.

Prompts share the instruction, and a user who comes back shares the history: what was computed for it once is copied
instead. Tokens are kept in blocks; a block is found by the block before it and its own tokens, so two prompts share
exactly their common beginning, to the block. The block table follows vLLM's prefix caching (arXiv 2309.06180).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from rere.decoding.tree_attention import KeyValueStore

BLOCK = 8  # tokens
Key = tuple[int, tuple[int, ...]]  # number of the block before (0: none), tokens


class PrefixCache:
    """Of one model; not for use by two threads at once.

    Args:
        tokens: kept at most; the blocks that were used longest ago go first.

    Attributes:
        asked, found: tokens of all prompts so far, and those of them that were not computed again.
    """

    def __init__(self, tokens: int) -> None:
        self.blocks = tokens // BLOCK
        self.asked = self.found = 0
        self._table: OrderedDict[Key, tuple[int, torch.Tensor]] = OrderedDict()  # (2, layers, H, BLOCK, D) each
        self._made = 0

    def fill(self, prompts: Sequence[Sequence[int]], store: KeyValueStore) -> list[int]:
        """Copy what is known of each prompt into its row of `store`, at the slots of its tokens.

        Returns:
            Tokens known of each prompt; always fewer than it has, for its last one must be run.
        """
        known, rows, slots, blocks = [], [], [], []
        for row, prompt in enumerate(prompts):
            chain = self._chain(prompt)
            for place, key in enumerate(chain):
                blocks.append(self._table[key][1])
                rows.append(row)
                slots.append(place * BLOCK)
            for key in reversed(chain):  # the first blocks are in most chains: they must go last
                self._table.move_to_end(key)
            known.append(len(chain) * BLOCK)
            self.asked += len(prompt)
        self.found += sum(known)
        if blocks:
            device = blocks[0].device
            row_of = torch.tensor(rows, device=device).repeat_interleave(BLOCK)
            slot = (torch.tensor(slots, device=device)[:, None] + torch.arange(BLOCK, device=device)).flatten()
            packed = torch.stack(blocks).permute(1, 2, 0, 4, 3, 5).flatten(2, 3)  # (2, layers, N, H, D)
            for layer in range(packed.shape[1]):
                store.write(layer, row_of, slot, packed[0, layer], packed[1, layer])
        return known

    def keep(self, prompts: Sequence[Sequence[int]], store: KeyValueStore) -> None:
        """Keep the whole blocks of prompts that `store` holds in full."""
        for row, prompt in enumerate(prompts):
            before = 0
            for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
                key = (before, tuple(prompt[start : start + BLOCK]))
                if key not in self._table:
                    self._made += 1
                    self._table[key] = (self._made, self._copied(store, row, start))
                before = self._table[key][0]
        while len(self._table) > self.blocks:
            self._table.popitem(last=False)

    def _chain(self, prompt: Sequence[int]) -> list[Key]:
        chain: list[Key] = []
        before = 0
        for start in range(0, (len(prompt) - 1) // BLOCK * BLOCK, BLOCK):
            key = (before, tuple(prompt[start : start + BLOCK]))
            if key not in self._table:
                break
            before = self._table[key][0]
            chain.append(key)
        return chain

    @staticmethod
    def _copied(store: KeyValueStore, row: int, start: int) -> torch.Tensor:
        parts = [[kind[row, :, start : start + BLOCK] for kind in store.layers[n]] for n in sorted(store.layers)]
        return torch.stack([torch.stack(list(kind)) for kind in zip(*parts, strict=True)])
