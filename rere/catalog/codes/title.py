"""Code: the whole title, then an end token (the paper's)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from rere.catalog.codes.base import CodeInputs, ItemCode, appended
from rere.catalog.tokenization import BATCH_TITLES, end_token, spell
from rere.catalog.trie import TokenTrie, build_trie


class TitleCode(ItemCode):
    """All tokens of the title, then an end token (the paper)."""

    ends: ClassVar[bool] = True

    type: Literal["title"] = "title"

    def build(self, given: CodeInputs) -> TokenTrie:
        return title_trie(given)

    def extend(self, trie: TokenTrie, known: pd.DataFrame, added: CodeInputs) -> TokenTrie:
        """See `ItemCode`; no known code changes."""
        return appended(trie, ended_titles(added.tokenizer, added.texts))


def title_trie(given: CodeInputs) -> TokenTrie:
    """The trie of the items' texts, each with the end token."""
    end, texts = end_token(given.tokenizer), given.texts
    flat, lengths = [np.zeros(0, dtype=np.int32)], [np.zeros(1, dtype=np.int64)]
    for low in range(0, len(texts), BATCH_TITLES):
        encoded = spell(given.tokenizer, texts[low : low + BATCH_TITLES])
        lengths.append(np.array([len(tokens) + 1 for tokens in encoded]))
        flat.append(np.fromiter(itertools.chain.from_iterable([*tokens, end] for tokens in encoded), dtype=np.int32))
    return build_trie((np.concatenate(flat), np.cumsum(np.concatenate(lengths))))


def ended_titles(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Each text's tokens with the end token."""
    end = end_token(tokenizer)
    return [[*tokens, end] for tokens in spell(tokenizer, texts)]
