"""Keys and values of prompts' prefixes, kept between searches.

All prompts share the instruction, and a returning user's prompts share the history: their keys and values are copied
instead of computed again. Tokens are kept in blocks. A block is identified by the block before it and its own tokens,
so two prompts share exactly the blocks of their common prefix. The block table follows vLLM's prefix caching
(arXiv 2309.06180).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from rere.models.packed_batch import KVCache

BLOCK = 8  # tokens
Key = tuple[int, tuple[int, ...]]  # number of the preceding block (0: none), tokens


class PrefixCache:
    """The prefix cache of one model; not thread-safe.

    Args:
        tokens: the most tokens kept; the least recently used blocks are dropped first.

    Attributes:
        asked, found: tokens of all prompts so far, and those among them that were found in the cache.
    """

    def __init__(self, tokens: int) -> None:
        self.blocks = tokens // BLOCK
        self.asked = self.found = 0
        self._table: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # number, index in the pool
        self._free = list(range(self.blocks))
        self._pool: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by layer: (blocks · BLOCK, H, D) each
        self._made = 0

    def fill(self, prompts: Sequence[Sequence[int]], store: KVCache) -> list[int]:
        """Copy each prompt's cached prefix into its row of `store`, at the slots of its tokens.

        Returns:
            Cached tokens of each prompt; always fewer than it has, because the last one must be run.
        """
        known, blocks, starts = [], [], []
        for row, prompt in enumerate(prompts):
            chain = self._chain(prompt)
            blocks += [self._table[key][1] for key in chain]
            starts += [row * store.capacity + n * BLOCK for n in range(len(chain))]
            for key in reversed(chain):  # the first blocks are in most chains, so they must be dropped last
                self._table.move_to_end(key)
            known.append(len(chain) * BLOCK)
            self.asked += len(prompt)
        self.found += sum(known)
        if blocks:
            for layer, (keys, values) in self._pool.items():
                source, target = _block_tokens(blocks, keys.device), _token_range(starts, keys.device)
                store.write(layer, target, keys[source], values[source])
        return known

    def keep(self, prompts: Sequence[Sequence[int]], store: KVCache) -> None:
        """Keep the full blocks of prompts whose keys and values are all in `store`.

        Where that fails, as for want of memory, nothing is kept: half a block would be read as a whole one.
        """
        try:
            self._keep(prompts, store)
        except BaseException:
            self._table.clear()
            self._pool.clear()
            self._free = list(range(self.blocks))
            raise

    def _keep(self, prompts: Sequence[Sequence[int]], store: KVCache) -> None:
        new: dict[Key, int] = {}  # index of the block's first token in the store
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
            if layer not in self._pool:  # not filled: the system provides memory only when it is first written
                shape = (self.blocks * BLOCK, *kinds[0].shape[2:])
                self._pool[layer] = kinds[0].new_empty(shape), kinds[1].new_empty(shape)
            source = _token_range(list(new.values()), kinds[0].device)
            target = _block_tokens(blocks, kinds[0].device)
            for pool, kind in zip(self._pool[layer], kinds, strict=True):
                pool[target] = kind.view(-1, *kind.shape[2:])[source]

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


def _block_tokens(blocks: list[int], device: torch.device) -> torch.Tensor:
    """(n · BLOCK,) indices in the pool of the tokens of n blocks."""
    return _token_range([block * BLOCK for block in blocks], device)


def _token_range(starts: list[int], device: torch.device) -> torch.Tensor:
    """(n · BLOCK,) indices of the tokens of n blocks, given the index of each block's first token."""
    first = torch.tensor(starts, device=device)[:, None]
    return (first + torch.arange(BLOCK, device=device)).flatten()
