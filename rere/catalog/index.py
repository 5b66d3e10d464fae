"""The item index: item <-> token sequence, the trie over the sequences, and how a prompt is put together.

An item's identity is its id. Items that share a title get their id as a suffix, so each has its own text. The setting
`code` says which tokens an item has (rere/catalog/codes/).

A prompt is assembled from token ids, never re-tokenised: instruction, then each item of the history with the very
tokens that it has as a target, then what a chat template puts after them (rere/catalog/prompts.py). So training and
serving can't differ by a space.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rere.artifacts.manifest import seal, verify
from rere.catalog.codes.base import CodeInputs, as_code
from rere.catalog.descriptions import descriptions
from rere.catalog.prompts import PromptFrame, prompt_frame
from rere.catalog.trie import TokenTrie
from rere.config.base import ColumnKind
from rere.config.catalog import FromUsers, IndexConfig
from rere.data.dataset import Dataset
from rere.data.files import read_arrow, write_arrow
from rere.data.sequences import training_sequences
from rere.errors import RereError
from rere.models.backbone import load_tokenizer
from rere.models.loading import SAFE

COLUMNS = "columns.arrow"  # where there are any


@dataclass(frozen=True)
class CatalogIndex:
    """I items; item index = row of `items` everywhere.

    items: item_id str, title str, text str (the title, disambiguated)
    prompt_head: token ids before the history
    further_heads: those of the instructions after the first, of which training draws one
    prompt_tail: token ids after the history
    item_tokens_made: tokens given out so far by a code with one token per item, also to items that have left
    columns: what else is known of each item, as the source's `item_columns` names it; no column by default
    """

    items: pd.DataFrame
    trie: TokenTrie
    tokenizer: PreTrainedTokenizerFast
    prompt_head: tuple[int, ...]
    config: IndexConfig
    columns: pd.DataFrame = field(default_factory=pd.DataFrame)
    item_tokens_made: int = 0
    further_heads: tuple[tuple[int, ...], ...] = ()
    prompt_tail: tuple[int, ...] = ()

    @property
    def prompt_heads(self) -> tuple[tuple[int, ...], ...]:
        """One for each instruction."""
        return (self.prompt_head, *self.further_heads)

    @property
    def frame_tokens(self) -> int:
        """The most tokens that a prompt has beside its history."""
        return PromptFrame(self.prompt_heads, self.prompt_tail).tokens

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

    @cached_property
    def descriptions(self) -> list[str]:
        """Each item's title, and what `text_columns` says of it."""
        return descriptions(self.titles, self.columns, self.config.text_columns)

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

    def prompt(self, history: Sequence[int], head: Sequence[int] | None = None) -> list[int]:
        """Token ids of a prompt.

        Args:
            history: item indices, oldest first; at least one.
            head: one of `prompt_heads`; the first if None.
        """
        if not len(history):
            raise RereError("a history of at least one item", "an empty one", "recommend popular items to new users")
        tokens = list(self.prompt_head if head is None else head)
        for item in history:
            tokens += self.item_tokens[item]
        return [*tokens, *self.prompt_tail]

    def save(self, directory: Path) -> None:
        """Inspectable files: items.jsonl (id, title, text, tokens), trie, tokenizer; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        table = self.items.assign(tokens=pd.Series(self.item_tokens, dtype=object))
        table.to_json(directory / "items.jsonl", orient="records", lines=True, force_ascii=False)
        self.trie.save(directory / "trie.safetensors")
        self.tokenizer.save_pretrained(directory / "tokenizer")
        facts = {
            "prompt_head": list(self.prompt_head),
            "further_heads": [list(head) for head in self.further_heads],
            "prompt_tail": list(self.prompt_tail),
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
            config=IndexConfig.model_validate(_in_one(facts["config"])),
            columns=read_arrow(directory / COLUMNS) if (directory / COLUMNS).exists() else pd.DataFrame(),
            item_tokens_made=facts.get("item_tokens_made", 0),
            further_heads=tuple(map(tuple, facts.get("further_heads", []))),
            prompt_tail=tuple(facts.get("prompt_tail", [])),
        )


def index_dataset(dataset: Dataset, config: IndexConfig) -> CatalogIndex:
    """Index a data set's catalogue; raises RereError as `build_index`."""
    return build_index(dataset.items, config, asked_sequences(dataset, config))


def asked_sequences(dataset: Dataset, config: IndexConfig) -> list[np.ndarray] | None:
    """Users' sequences of the training period where the item codes are made of them; validation and test never are."""
    return training_sequences(dataset) if isinstance(config.code.item_vectors, FromUsers) else None


def build_index(
    items: pd.DataFrame, config: IndexConfig, sequences: Sequence[np.ndarray] | None = None
) -> CatalogIndex:
    """Index a catalogue (item_id, title, and whatever columns are kept) for a backbone.

    Args:
        sequences: each user's items of the training period, as row numbers, for codes that are made of them.

    Raises:
        RereError: an empty catalogue, duplicate ids, blank titles, columns that the items lack, a backbone that can't
            be found, or one whose chat template is asked for and can't be used.
    """
    ids, titles = items["item_id"], items["title"]
    if not len(items):
        raise RereError("a catalogue of at least one item", "none", "check the items file and the filters")
    for problem, wrong in {
        "duplicate item ids": ids.duplicated(),
        "blank titles": ~titles.str.strip().astype(bool),
    }.items():
        if wrong.any():
            raise RereError(
                "an id and a title for each item",
                f"{problem}: {ids[wrong].tolist()[:5]}",
                "mend the items file",
            )
    code = as_code(config.code)
    rows = pd.DataFrame({"item_id": ids, "title": titles, "text": distinct_texts(ids, titles)}).reset_index(drop=True)
    tokenizer = load_tokenizer(config.backbone, code.tokenizer_texts(rows, "\n".join(config.instructions)))
    columns = further_columns(items)
    words = descriptions(rows["title"].tolist(), columns, config.text_columns)
    frame = prompt_frame(tokenizer, config)
    return CatalogIndex(
        items=rows,
        trie=code.build(CodeInputs(rows, tokenizer, config.seed, descriptions=words, sequences=sequences)),
        tokenizer=tokenizer,
        prompt_head=frame.heads[0],
        config=config,
        columns=columns,
        item_tokens_made=len(items) if code.one_token else 0,
        further_heads=frame.heads[1:],
        prompt_tail=frame.tail,
    )


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
            raise RereError(
                "titles that differ once the id is added", ", ".join(rows[:5]), "give those items other titles"
            )
        texts = texts.where(~shared, spelt)
    return texts


def _in_one(config: dict[str, Any]) -> dict[str, Any]:
    """Settings in today's shape: catalogues saved earlier have those of semantic IDs beside `code`."""
    semantic = config.pop("semantic", None)
    return config | {"code": {"type": "semantic", **semantic}} if config["code"] == "semantic" else config
