"""The item index: identity, codes, prompts, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import Backbone, GGUFModel, HubModel, LocalModel
from rere.config.catalog import IndexConfig
from rere.errors import RereError
from tests.conftest import TINY


def test_shared_titles_are_told_apart_by_id(world_catalog: CatalogIndex) -> None:
    assert world_catalog.titles[3] == world_catalog.titles[5]
    texts = world_catalog.items["text"]
    assert texts[3].endswith("[i3]")
    assert texts[5].endswith("[i5]")
    assert texts.is_unique
    assert world_catalog.item_tokens[3] != world_catalog.item_tokens[5]


def test_a_title_may_be_what_another_becomes_by_its_id(tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": ["i1", "i2", "i3", "i4"], "title": ["Cars", "Cars", "Cars [i1]", "Cars [i2]"]})
    for code in (TitleCode(), PrefixCode()):
        catalog = build_index(items, IndexConfig(backbone=TINY, code=code))
        assert catalog.items["text"].tolist() == ["Cars [i1]", "Cars [i2]", "Cars [i1] [i3]", "Cars [i2] [i4]"]
        assert len({*map(tuple, catalog.item_tokens)}) == 4


def test_items_that_ids_do_not_tell_apart_are_named() -> None:
    items = pd.DataFrame({"item_id": ["b", "a] [b", "c", "d"], "title": ["T [a]", "T", "T", "T [a]"]})
    with pytest.raises(RereError, match=r"b \('T \[a\]'\), a\] \[b \('T'\)"):
        build_index(items, IndexConfig(code=PrefixCode(), backbone=TINY))


def test_title_code_is_the_text_and_an_end(world_items: pd.DataFrame) -> None:
    catalog = build_index(world_items, IndexConfig(backbone=TINY, code=TitleCode()))
    for tokens, text in zip(catalog.item_tokens, catalog.items["text"], strict=True):
        assert tokens[-1] == catalog.tokenizer.eos_token_id
        assert catalog.tokenizer.decode(tokens[:-1]) == text


def test_prefix_code_is_the_shortest_beginning_of_its_own(
    world_items: pd.DataFrame, world_catalog: CatalogIndex
) -> None:
    full = build_index(world_items, IndexConfig(backbone=TINY, code=TitleCode())).item_tokens
    for item, code in enumerate(world_catalog.item_tokens):
        others = [tokens for other, tokens in enumerate(full) if other != item]
        assert full[item][: len(code)] == code
        assert all(tokens[: len(code)] != code for tokens in others)
        assert len(code) == 1 or any(tokens[: len(code) - 1] == code[:-1] for tokens in others)


def test_a_prompt_is_the_head_and_the_items_own_tokens(world_catalog: CatalogIndex) -> None:
    tokens = world_catalog.item_tokens
    assert world_catalog.prompt([2, 0]) == [*world_catalog.prompt_head, *tokens[2], *tokens[0]]
    with pytest.raises(RereError, match="at least one item"):
        world_catalog.prompt([])


def test_files_are_readable_and_load_the_same(world_catalog: CatalogIndex, tmp_path: Path) -> None:
    world_catalog.save(tmp_path / "catalog")
    loaded = CatalogIndex.load(tmp_path / "catalog")
    assert loaded.item_tokens == world_catalog.item_tokens
    assert loaded.items.equals(world_catalog.items)
    assert loaded.prompt([1, 2]) == world_catalog.prompt([1, 2])
    first = json.loads((tmp_path / "catalog" / "items.jsonl").read_text().splitlines()[0])
    assert first["item_id"] == "i0"
    assert first["tokens"] == world_catalog.item_tokens[0]


@pytest.mark.parametrize("harm", ["alter", "remove", "add", "unseal"])
def test_an_altered_index_is_refused(world_catalog: CatalogIndex, tmp_path: Path, harm: str) -> None:
    world_catalog.save(tmp_path)
    if harm == "alter":
        text = (tmp_path / "items.jsonl").read_text()
        (tmp_path / "items.jsonl").write_text(text.replace("Moon", "Noon", 1))
    elif harm == "remove":
        (tmp_path / "trie.safetensors").unlink()
    elif harm == "add":
        (tmp_path / "extra.txt").write_text("x")
    else:
        (tmp_path / "manifest.json").unlink()
    with pytest.raises(RereError, match=r"make it again"):
        CatalogIndex.load(tmp_path)


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": ["007", "7", "1e3"], "title": ["1984", "2001", "300"]})
    build_index(items, IndexConfig(code=PrefixCode(), backbone=TINY)).save(tmp_path)
    assert CatalogIndex.load(tmp_path).item_ids == ["007", "7", "1e3"]
    assert CatalogIndex.load(tmp_path).titles == ["1984", "2001", "300"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"item_id": [], "title": []}, "at least one item"),
        ({"item_id": ["a", "a"], "title": ["x", "y"]}, "duplicate item ids"),
        ({"item_id": ["a", "b"], "title": ["x", "  "]}, "blank titles"),
    ],
)
def test_impossible_catalogues_are_refused(items: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(RereError, match=message):
        build_index(pd.DataFrame(items, dtype=str), IndexConfig(code=PrefixCode(), backbone=TINY))


@pytest.mark.parametrize(
    "backbone",
    [
        HubModel(id="nobody/no-such-model"),
        LocalModel(path=Path("no/such/directory")),
        GGUFModel(package="no-such-package"),
        GGUFModel(package=None, path=Path("no/such.gguf")),
    ],
)
def test_a_backbone_that_cannot_be_found_is_one_clear_error(world_items: pd.DataFrame, backbone: Backbone) -> None:
    with pytest.raises(RereError, match="Fix: "):
        build_index(world_items, IndexConfig(code=PrefixCode(), backbone=backbone))
