"""New items in an indexed catalogue against codes worked out by hand, item by item."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.tokenization import end_token
from rere.config.catalog import IndexConfig
from rere.errors import RereError
from tests.conftest import TINY

TITLES = st.text("ab c", min_size=1, max_size=6).map(lambda text: "x" + text.strip())


def frame(titles: list[str], first: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [f"i{first + n}" for n in range(len(titles))], "title": titles})


def shortest_unique(catalog: CatalogIndex) -> list[list[int]]:
    """Each item's code under `prefix`: the shortest beginning of its spelling that no other item shares."""
    end = end_token(catalog.tokenizer)
    texts = catalog.items["text"].tolist()
    spelt = [[*catalog.tokenizer.encode(text, add_special_tokens=False), end] for text in texts]
    return [
        next(own[:n] for n in range(1, len(own) + 1) if sum(other[:n] == own[:n] for other in spelt) == 1)
        for own in spelt
    ]


@settings(max_examples=60, deadline=None)
@given(old=st.lists(TITLES, min_size=1, max_size=12), new=st.lists(TITLES, min_size=1, max_size=6))
def test_prefix_codes_are_the_shortest_unique_beginnings(old: list[str], new: list[str]) -> None:
    catalog = build_index(frame(old), IndexConfig(backbone=TINY, code=PrefixCode()))
    extended = extend_index(catalog, frame(new, first=len(old)))
    expected = shortest_unique(extended)
    assert extended.item_tokens == expected
    for before, after in zip(catalog.item_tokens, extended.item_tokens, strict=False):
        assert after[: len(before)] == before  # an old code stays, or goes on
    assert extended.titles == old + new


def test_title_codes_of_old_items_stay() -> None:
    catalog = build_index(frame(["alpha", "beta"]), IndexConfig(backbone=TINY, code=TitleCode()))
    extended = extend_index(catalog, frame(["alpha", "gamma ☂"], first=2))
    assert extended.item_tokens[:2] == catalog.item_tokens
    assert extended.items["text"].tolist() == ["alpha", "beta", "alpha [i2]", "gamma ☂"]
    assert extended.tokenizer.decode(extended.item_tokens[3][:-1]) == "gamma ☂"
    assert extend_index(extended, frame([])) is extended


def test_a_new_title_may_be_an_old_items_text() -> None:
    catalog = build_index(frame(["cars", "cars"]), IndexConfig(backbone=TINY, code=TitleCode()))
    extended = extend_index(catalog, frame(["cars [i0]", "cars"], first=2))
    assert extended.items["text"].tolist() == ["cars [i0]", "cars [i1]", "cars [i0] [i2]", "cars [i3]"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("i0", "new")], "ids in use"),
        ([("i8", "one"), ("i8", "two")], "ids in use"),
        ([("i8", "  ")], "at least one token"),
    ],
)
def test_what_cannot_be_added(rows: list[tuple[str, str]], message: str) -> None:
    catalog = build_index(frame(["alpha", "beta"]), IndexConfig(code=PrefixCode(), backbone=TINY))
    with pytest.raises(RereError, match=message):
        extend_index(catalog, pd.DataFrame(rows, columns=["item_id", "title"]))


def test_semantic_ids_need_training() -> None:
    config = IndexConfig(backbone=TINY, code=SemanticCode(levels=2, codewords=2))
    catalog = build_index(frame(["alpha", "beta", "gamma", "delta"]), config)
    with pytest.raises(RereError, match="retrain"):
        extend_index(catalog, frame(["new"], first=4))
