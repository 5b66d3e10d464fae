"""What an item code is: each item's token sequence. A code is one file here and one line in the registry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from rere.catalog.trie import TokenTrie, build_trie
from rere.config.catalog import CodeSettings
from rere.errors import RereError


@dataclass(frozen=True)
class CodeInputs:
    """The items to code, and what to code them with.

    items: I rows with item_id str, title str, text str (the title; of items with one title, followed by the id)
    tokenizer: the backbone's. A code may add tokens to it (`new_tokens`)
    seed: of random choices
    item_tokens_made: by a code with `one_token`, the tokens given out before
    descriptions: what is known of each item in words; the titles where nothing else is
    sequences: each user's items of the training period, as row numbers, oldest first; None where they aren't known
    """

    items: pd.DataFrame
    tokenizer: PreTrainedTokenizerFast
    seed: int = 0
    item_tokens_made: int = 0
    descriptions: Sequence[str] = ()
    sequences: Sequence[np.ndarray] | None = None

    @property
    def texts(self) -> list[str]:
        texts: list[str] = self.items["text"].tolist()
        return texts


class ItemCode(CodeSettings):
    """Settings of an item code, and the code itself."""

    def tokenizer_texts(self, items: pd.DataFrame, instruction: str) -> Iterable[str]:
        """What the tokenizer of a scratch model is trained on: by default, the items' texts.

        Args:
            instruction: of several instructions, each on a line.
        """
        return items["text"]

    @abstractmethod
    def build(self, given: CodeInputs) -> TokenTrie:
        """The trie of the items' token sequences, in the order of the rows; no item's begins another's.

        Raises:
            RereError: items that this code can't tell apart or spell.
        """

    def extend(self, trie: TokenTrie, known: pd.DataFrame, added: CodeInputs) -> TokenTrie:
        """The trie with the items `added` after those of `trie`, which a model was trained on and keep their codes.

        Args:
            known: the rows of the trie's items, as `CodeInputs.items`.

        Raises:
            RereError: a code without this method codes the whole catalogue at once.
        """
        raise RereError(
            "items whose code can be given after training, as by `code: title`, `prefix` or `item`",
            f"`code: {self.type}`, which codes the whole catalogue at once",
            "retrain with the new items",
        )

    @property
    def takes_new_items(self) -> bool:
        """Whether items can be added to a trained model's catalogue."""
        return type(self).extend is not ItemCode.extend


def as_code(settings: CodeSettings) -> ItemCode:
    """The code that settings are of: the registry has nothing else."""
    assert isinstance(settings, ItemCode)
    return settings


def new_tokens(tokenizer: PreTrainedTokenizerFast, names: Iterable[str]) -> dict[str, int]:
    """Add the names to the tokenizer's vocabulary, in their order; name -> token id."""
    distinct = list(dict.fromkeys(names))
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in distinct])
    known = tokenizer.get_vocab()
    return {name: known[name] for name in distinct}


def appended(trie: TokenTrie, added: Sequence[Sequence[int]], changed: Mapping[int, Sequence[int]] = {}) -> TokenTrie:
    """The trie with new items after its own.

    Args:
        added: token sequences of the new items.
        changed: new token sequences of known items, by item index in ascending order.
    """
    flat, offsets = trie.item_tokens.numpy(), trie.item_offsets.numpy()
    lengths, low = np.diff(offsets), 0
    pieces: list[np.ndarray] = []
    for item, tokens in changed.items():
        pieces += [flat[low : offsets[item]], np.array(tokens)]
        lengths[item], low = len(tokens), offsets[item + 1]
    pieces += [flat[low:], *map(np.array, added)]
    lengths = np.concatenate([lengths, [len(tokens) for tokens in added]])
    return build_trie((np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)])))
