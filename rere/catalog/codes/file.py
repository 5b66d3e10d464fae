"""Code: token sequences that were made elsewhere, read from a JSON file: `{"item id": ["<a_12>", "<b_3>"], ...}`."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from rere.catalog.codes.base import CodeInputs, ItemCode, new_tokens
from rere.catalog.trie import TokenTrie, build_trie
from rere.errors import RereError

Name = Annotated[str, Field(pattern=r"\S")]
CODES = TypeAdapter(dict[str, Annotated[list[Name], Field(min_length=1)]])
SHOWN = 5  # items in a message


class FileCode(ItemCode):
    """Codes made elsewhere: a JSON file of item id -> names of tokens, such as MiniOneRec's `.index.json`."""

    new_names: ClassVar[bool] = True

    type: Literal["file"] = "file"
    path: Path

    def tokenizer_texts(self, items: pd.DataFrame, instruction: str) -> Iterable[str]:
        """The instruction: no title is ever spelt."""
        return [instruction]

    def build(self, given: CodeInputs) -> TokenTrie:
        """See `ItemCode`; every name becomes a token, unless the tokenizer has it.

        Raises:
            RereError: no such file, another content, items without a code, a code that begins another's, or a name that
                is one of the tokenizer's control tokens.
        """
        codes, ids = self._read(), given.items["item_id"].tolist()
        if missing := [item for item in ids if item not in codes]:
            raise RereError(
                f"a code of every item in {self.path}",
                f"none of {len(missing):,} of {len(ids):,} items, such as {', '.join(missing[:SHOWN])}",
                "add their codes, or leave these items out of the data",
            )
        if unused := len(codes) - len(ids):
            logging.getLogger(__name__).info("%s: %s codes are of items that the data lack.", self.path, f"{unused:,}")
        _require_distinct(codes, ids)
        names = dict.fromkeys(name for item in ids for name in codes[item])
        if control := sorted(names.keys() & set(given.tokenizer.all_special_tokens)):
            raise RereError("codes without control tokens", ", ".join(control[:SHOWN]), "rename these tokens")
        tokens = new_tokens(given.tokenizer, names)
        return build_trie([[tokens[name] for name in codes[item]] for item in ids])

    def _read(self) -> dict[str, list[str]]:
        """Item id -> names."""
        expected = f'a JSON file {{"item id": ["<a_1>", "<b_2>"], ...}} at {self.path}'
        try:
            return CODES.validate_json(self.path.read_bytes())
        except OSError as error:
            raise RereError(expected, error.strerror or str(error), "correct `catalog.code.path`") from None
        except ValidationError as error:
            first = error.errors()[0]
            found = " ".join([first["msg"], *(f"at {part!r}" for part in first["loc"][:1])])
            raise RereError(expected, found, "correct the file") from None


def _require_distinct(codes: dict[str, list[str]], ids: list[str]) -> None:
    """RereError if an item's code is, or begins, another's. In sorted order, the two would be neighbours."""
    for one, other in itertools.pairwise(sorted(ids, key=codes.__getitem__)):
        if codes[other][: len(codes[one])] == codes[one]:
            raise RereError(
                "codes of which none is another's, or begins it",
                f"{''.join(codes[one])} of item {one} and {''.join(codes[other])} of item {other}",
                "give both one more token, by which they differ",
            )
