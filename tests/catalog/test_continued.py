"""A catalogue that goes on from the champion's: order of today, codes of yesterday."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode
from rere.catalog.index import build_index
from rere.catalog.warm_start import continue_index, continued_or_new
from rere.config.catalog import IndexConfig
from tests.conftest import TINY

TITLES = {f"i{n}": f"{'Star' if n % 2 else 'Moon'} {'Trip' if n % 3 else 'Port'} {n}" for n in range(12)}
CONFIG = IndexConfig(backbone=TINY, code=TitleCode())


def frame(ids: list[str], titles: dict[str, str] = TITLES) -> pd.DataFrame:
    return pd.DataFrame({"item_id": ids, "title": [titles[item] for item in ids]})


IDS = st.lists(st.sampled_from(sorted(TITLES)), min_size=1, unique=True)


@settings(max_examples=40, deadline=None)
@given(old=IDS, now=IDS)
def test_known_items_keep_their_tokens_whatever_the_order(old: list[str], now: list[str]) -> None:
    assume(set(old) & set(now))
    champion = build_index(frame(old), CONFIG)
    catalog = continue_index(champion, frame(now))
    assert catalog.item_ids == now
    assert catalog.titles == [TITLES[item] for item in now]
    assert catalog.tokenizer is champion.tokenizer
    before, after = (dict(zip(each.item_ids, each.item_tokens, strict=True)) for each in (champion, catalog))
    for item in set(old) & set(now):
        assert after[item] == before[item]
    for item in set(now) - set(old):  # spelt by the champion's tokenizer
        assert catalog.tokenizer.decode(after[item][:-1]) == TITLES[item]


def test_a_renamed_item_is_a_new_one() -> None:
    champion = build_index(frame(["i0", "i1"]), CONFIG)
    renamed = TITLES | {"i0": "Another name"}
    catalog, start = continued_or_new(champion, frame(["i0", "i1"], renamed), CONFIG, 0.5)
    assert (start.type, start.known_items, start.new_items) == ("champion", 1, 1)
    assert catalog.tokenizer.decode(catalog.item_tokens[0][:-1]) == "Another name"
    assert catalog.item_tokens[1] == champion.item_tokens[1]


def test_prefix_codes_stay_the_shortest_when_nothing_left() -> None:
    config = CONFIG.model_copy(update={"code": PrefixCode()})
    champion = build_index(frame(["i0", "i1", "i2"]), config)
    catalog = continue_index(champion, frame(["i3", "i2", "i1", "i0"]))
    for position, item in enumerate(["i2", "i1", "i0"], 1):
        old = champion.item_tokens[champion.index_of[item]]
        assert catalog.item_tokens[position][: len(old)] == old  # an old code stays, or goes on


@pytest.mark.parametrize(
    ("known", "now", "share", "reason"),
    [
        ("i0", CONFIG, 0.2, "2 of 3 items are new to the champion, more than 20%"),
        ("i9", CONFIG, 1.0, "the champion knows none of the items"),
        ("i0", CONFIG.model_copy(update={"code": PrefixCode()}), 1.0, "the settings of `catalog` changed (code)"),
    ],
)
def test_it_starts_afresh_and_says_why(known: str, now: IndexConfig, share: float, reason: str) -> None:
    champion = build_index(frame([known]), CONFIG)
    catalog, start = continued_or_new(champion, frame(["i0", "i1", "i2"]), now, share)
    assert (start.type, start.reason) == ("backbone", reason)
    assert catalog.item_tokens == build_index(frame(["i0", "i1", "i2"]), now).item_tokens


def test_semantic_ids_start_afresh(world_items: pd.DataFrame) -> None:
    config = IndexConfig(backbone=TINY, code=SemanticCode(levels=1, codewords=8))
    champion = build_index(world_items, config)
    _, start = continued_or_new(champion, world_items, config, 0.5)
    assert (start.type, start.reason) == ("backbone", "`code: semantic` codes the whole catalogue at once")
