"""Keys and values of prompts' beginnings, kept between searches.

Prompts share the instruction, and a user who comes back shares the history: what was computed for it once is copied
instead. Tokens are kept in blocks; a block is found by the block before it and its own tokens, so two prompts share
exactly their common beginning, to the block. The block table follows vLLM's prefix caching (arXiv 2309.06180).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from rere.models.packed_batch import KVCache

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
        self._table: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # number, place in the pool
        self._free = list(range(self.blocks))
        self._pool: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by layer: (blocks · BLOCK, H, D) each
        self._made = 0

    def fill(self, prompts: Sequence[Sequence[int]], store: KVCache) -> list[int]:
        """Copy what is known of each prompt into its row of `store`, at the slots of its tokens.

        Returns:
            Tokens known of each prompt; always fewer than it has, for its last one must be run.
        """
        known, blocks, places = [], [], []
        for row, prompt in enumerate(prompts):
            chain = self._chain(prompt)
            blocks += [self._table[key][1] for key in chain]
            places += [row * store.capacity + place * BLOCK for place in range(len(chain))]
            for key in reversed(chain):  # the first blocks are in most chains: they must go last
                self._table.move_to_end(key)
            known.append(len(chain) * BLOCK)
            self.asked += len(prompt)
        self.found += sum(known)
        if blocks:
            for layer, (keys, values) in self._pool.items():
                source, place = _tokens(blocks, keys.device), _tokens(places, keys.device, apart=1)
                store.write(layer, place, keys[source], values[source])
        return known

    def keep(self, prompts: Sequence[Sequence[int]], store: KVCache) -> None:
        """Keep the whole blocks of prompts that `store` holds in full."""
        new: dict[Key, int] = {}  # where its tokens are in the store
        for row, prompt in enumerate(prompts):
            before = 0
            for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
                key = (before, tuple(prompt[start : start + BLOCK]))
                if key not in self._table:
                    self._made += 1
                    self._table[key] = self._made, -1
                    new[key] = row * store.capacity + start
                before = self._table[key][0]
        while len(self._table) > self.blocks:
            gone, (_, block) = self._table.popitem(last=False)
            if new.pop(gone, None) is None:
                self._free.append(block)
        if not new:
            return
        blocks = [self._free.pop() for _ in new]
        for key, block in zip(new, blocks, strict=True):
            self._table[key] = self._table[key][0], block
        for layer, kinds in store.layers.items():
            if layer not in self._pool:  # not filled: memory that isn't used yet isn't taken from the system
                shape = (self.blocks * BLOCK, *kinds[0].shape[2:])
                self._pool[layer] = kinds[0].new_empty(shape), kinds[1].new_empty(shape)
            source, place = _tokens(list(new.values()), kinds[0].device, apart=1), _tokens(blocks, kinds[0].device)
            for pool, kind in zip(self._pool[layer], kinds, strict=True):
                pool[place] = kind.view(-1, *kind.shape[2:])[source]

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


def _tokens(starts: list[int], device: torch.device, apart: int = BLOCK) -> torch.Tensor:
    """(n · BLOCK,) places of the tokens of n blocks, given each one's number (times `apart`: its first token)."""
    first = torch.tensor(starts, device=device)[:, None] * apart
    return (first + torch.arange(BLOCK, device=device)).flatten()
