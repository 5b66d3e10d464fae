"""The item index: item <-> token sequence, the trie over the sequences, and how a prompt is put together.

An item's identity is its id. Items that share a title get their id as a suffix, so each has its own text.
Four codes:

title     all tokens of the title, then an end token (the paper's)
prefix    the shortest beginning of that sequence that no other item shares: a trie node with one leaf below.
          About five times fewer tokens per item on MovieLens-100K, in the history too.
semantic  codewords of the item's vector as new tokens `<s0_17><s1_4>...` (rere/catalog/semantic_ids.py); no end
          token, for no code begins another
item      one token per item, after all tokens of the tokenizer, which doesn't know them; what they mean is in the
          model's embedding (rere/models/item_tokens.py)

A prompt is assembled from token ids, never re-tokenised: instruction, then each item of the history with
the very tokens that it has as a target. So training and serving can't differ by a space.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rere.artifacts.manifest import seal, verify
from rere.catalog.tokenization import end_token, spell
from rere.catalog.trie import TokenTrie, build_trie
from rere.config.base import ColumnKind
from rere.config.catalog import IndexConfig
from rere.data.files import read_arrow, write_arrow
from rere.errors import RereError
from rere.models.backbone import load_tokenizer
from rere.models.loading import SAFE

COLUMNS = "columns.arrow"  # where there are any
BATCH_TITLES = 20_000  # encoded at once: a tokenizer's own records of a title take more than its tokens


@dataclass(frozen=True)
class CatalogIndex:
    """I items; item index = row of `items` everywhere.

    items: item_id str, title str, text str (the title, disambiguated)
    prompt_head: token ids before the history
    item_tokens_made: item tokens given out so far (code: item). Never given to another item, even where the first one
        has left the catalogue: a model's embedding would still mean the first
    columns: what else is known of each item, as the source's `item_columns` names it; no column by default
    """

    items: pd.DataFrame
    trie: TokenTrie
    tokenizer: PreTrainedTokenizerFast
    prompt_head: tuple[int, ...]
    config: IndexConfig
    columns: pd.DataFrame = field(default_factory=pd.DataFrame)
    item_tokens_made: int = 0

    @property
    def vocabulary(self) -> int:
        """Tokens that a model of this catalogue must know: the tokenizer's, then one per item where items have one."""
        return len(self.tokenizer) + self.item_tokens_made

    @cached_property
    def item_ids(self) -> list[str]:
        return self.items["item_id"].tolist()

    @cached_property
    def titles(self) -> list[str]:
        return self.items["title"].tolist()

    @property
    def column_kinds(self) -> dict[str, ColumnKind]:
        """What each further column holds."""
        kinds = self.columns.dtypes.items()
        return {str(name): "number" if pd.api.types.is_float_dtype(kind) else "text" for name, kind in kinds}

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Item id -> item index."""
        return {item: n for n, item in enumerate(self.item_ids)}

    @cached_property
    def item_tokens(self) -> list[list[int]]:
        """Each item's tokens."""
        flat, offsets = self.trie.item_tokens.tolist(), self.trie.item_offsets.tolist()
        return [flat[low:high] for low, high in itertools.pairwise(offsets)]

    def prompt(self, history: Sequence[int]) -> list[int]:
        """Token ids of a prompt.

        Args:
            history: item indices, oldest first; at least one.
        """
        if not len(history):
            raise RereError("a history of at least one item", "an empty one", "recommend popular items to new users")
        tokens = list(self.prompt_head)
        for item in history:
            tokens += self.item_tokens[item]
        return tokens

    def save(self, directory: Path) -> None:
        """Inspectable files: items.jsonl (id, title, text, tokens), trie, tokenizer; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        table = self.items.assign(tokens=pd.Series(self.item_tokens, dtype=object))
        table.to_json(directory / "items.jsonl", orient="records", lines=True, force_ascii=False)
        self.trie.save(directory / "trie.safetensors")
        self.tokenizer.save_pretrained(directory / "tokenizer")
        facts = {
            "prompt_head": list(self.prompt_head),
            "item_tokens_made": self.item_tokens_made,
            "config": self.config.model_dump(mode="json"),
        }
        (directory / "index.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if self.columns.columns.size:
            write_arrow(self.columns, directory / COLUMNS)
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> CatalogIndex:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        facts = json.loads((directory / "index.json").read_text(encoding="utf-8"))
        items = pd.read_json(
            directory / "items.jsonl",
            lines=True,
            dtype={"item_id": str, "title": str, "text": str},
            convert_dates=False,
        )
        return cls(
            items=items[["item_id", "title", "text"]],
            trie=TokenTrie.load(directory / "trie.safetensors"),
            tokenizer=cast(
                PreTrainedTokenizerFast,
                AutoTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True, **SAFE),
            ),
            prompt_head=tuple(facts["prompt_head"]),
            config=IndexConfig.model_validate(facts["config"]),
            columns=read_arrow(directory / COLUMNS) if (directory / COLUMNS).exists() else pd.DataFrame(),
            item_tokens_made=facts.get("item_tokens_made", 0),
        )


def build_index(items: pd.DataFrame, config: IndexConfig) -> CatalogIndex:
    """Index a catalogue (item_id, title, and whatever columns are kept) for a backbone.

    Raises:
        RereError: an empty catalogue, duplicate ids, blank titles, or a backbone that can't be found.
    """
    ids, titles = items["item_id"], items["title"]
    if not len(items):
        raise RereError("a catalogue of at least one item", "none", "check the items file and the filters")
    for problem, rows in {
        "duplicate item ids": ids.duplicated(),
        "blank titles": ~titles.str.strip().astype(bool),
    }.items():
        if rows.any():
            raise RereError(
                "an id and a title for each item",
                f"{problem}: {ids[rows].tolist()[:5]}",
                "mend the items file",
            )
    texts = distinct_texts(ids, titles)
    if config.code == "semantic":  # no title is ever spelt, so a scratch tokenizer need not learn them
        tokenizer = load_tokenizer(config.backbone, [config.instruction])
        trie = _semantic_trie(titles.tolist(), tokenizer, config)
    elif config.code == "item":
        tokenizer = load_tokenizer(config.backbone, titles)
        trie = build_trie(new_item_tokens(tokenizer, titles.tolist(), made=0))
    else:
        tokenizer = load_tokenizer(config.backbone, texts)
        trie = _title_trie(texts.tolist(), tokenizer)
        if config.code == "prefix":
            trie = prefix_trie(trie)
    return CatalogIndex(
        items=pd.DataFrame({"item_id": ids, "title": titles, "text": texts}).reset_index(drop=True),
        trie=trie,
        tokenizer=tokenizer,
        prompt_head=_prompt_head(tokenizer, config.instruction),
        config=config,
        columns=further_columns(items),
        item_tokens_made=len(items) if config.code == "item" else 0,
    )


def new_item_tokens(tokenizer: PreTrainedTokenizerFast, titles: Sequence[str], made: int) -> list[list[int]]:
    """The code of each new item: the next free token.

    Args:
        made: item tokens given out before.

    Raises:
        RereError: a title that can't be spelt: the token would mean nothing.
    """
    for low in range(0, len(titles), BATCH_TITLES):
        spell(tokenizer, titles[low : low + BATCH_TITLES])
    first = len(tokenizer) + made
    return [[token] for token in range(first, first + len(titles))]


def further_columns(items: pd.DataFrame) -> pd.DataFrame:
    """What a catalogue says of its items beyond id and title."""
    return items.drop(columns=["item_id", "title"]).reset_index(drop=True)


def distinct_texts(ids: pd.Series, titles: pd.Series, taken: Collection[str] = ()) -> pd.Series:
    """Titles, with ` [id]` after each that another item has too, or that is in `taken`; no two are alike.

    A title can be what another becomes by its id ("Cars [i1]"): then it gets its own id as well.

    Raises:
        RereError: items that even their ids don't tell apart.
    """
    texts, spelt = titles, titles + " [" + ids + "]"
    while (shared := texts.duplicated(keep=False) | texts.isin(taken)).any():
        final = shared & (texts == spelt)
        if (same := final & (texts.where(final).duplicated(keep=False) | texts.isin(taken))).any():
            rows = [f"{item} ({title!r})" for item, title in zip(ids[same], titles[same], strict=True)]
            raise RereError("items that title and id tell apart", ", ".join(rows[:5]), "give those items other titles")
        texts = texts.where(~shared, spelt)
    return texts


def _prompt_head(tokenizer: PreTrainedTokenizerFast, instruction: str) -> tuple[int, ...]:
    """The begin token, where the tokenizer's own habit or a scratch model has one, and the instruction."""
    tokens = tokenizer.encode(instruction, add_special_tokens=False) if instruction else []
    begins = tokenizer.bos_token_id is not None and (
        tokenizer.bos_token == "<|begin|>" or tokenizer.encode("a")[0] == tokenizer.bos_token_id
    )
    return tuple([tokenizer.bos_token_id, *tokens] if begins else tokens)


def _title_trie(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> TokenTrie:
    end = end_token(tokenizer)
    flat, lengths = [np.zeros(0, dtype=np.int32)], [np.zeros(1, dtype=np.int64)]
    for low in range(0, len(texts), BATCH_TITLES):
        encoded = spell(tokenizer, texts[low : low + BATCH_TITLES])
        lengths.append(np.array([len(tokens) + 1 for tokens in encoded]))
        flat.append(np.fromiter(itertools.chain.from_iterable([*tokens, end] for tokens in encoded), dtype=np.int32))
    return build_trie((np.concatenate(flat), np.cumsum(np.concatenate(lengths))))


def _semantic_trie(titles: list[str], tokenizer: PreTrainedTokenizerFast, config: IndexConfig) -> TokenTrie:
    """The trie over semantic IDs; every codeword in use becomes a new token of `tokenizer`."""
    # Only this code needs scikit-learn: a served model goes without.
    from rere.catalog.embeddings import embed_titles
    from rere.catalog.semantic_ids import semantic_codes

    vectors = embed_titles(titles, config.semantic.embedding, config.seed)
    codes = semantic_codes(vectors, config.semantic, config.seed)
    pairs = sorted({pair for code in codes for pair in enumerate(code)})
    names = {(level, codeword): f"<s{level}_{codeword}>" for level, codeword in pairs}
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names.values()])
    known = tokenizer.get_vocab()
    return build_trie([[known[names[pair]] for pair in enumerate(code)] for code in codes])


def prefix_trie(trie: TokenTrie) -> TokenTrie:
    """Cut every item where its path has one leaf left below it.

    The node just under the last branching ancestor of a leaf is the first with one leaf below.
    """
    node = trie.item_leaf.clone()
    while True:
        above = trie.parent[node]
        lift = (above > 0) & (trie.leaves_below(above.clamp(min=0)) == 1)
        if not lift.any():
            break
        node = torch.where(lift, above, node)
    lengths = trie.depth[node].numpy()
    offsets = trie.item_offsets.numpy()
    keep = np.concatenate([np.arange(low, low + n) for low, n in zip(offsets[:-1], lengths, strict=True)])
    return build_trie((trie.item_tokens.numpy()[keep], np.concatenate([[0], np.cumsum(lengths)])))
