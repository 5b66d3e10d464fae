"""What every registered item code keeps to, and codes that were made elsewhere."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rere.artifacts.manifest import seal
from rere.catalog.codes.base import ItemCode, as_code
from rere.catalog.codes.file import FileCode
from rere.catalog.codes.registry import CODES
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.config.reading import validated
from rere.errors import RereError
from tests.conftest import TINY

ITEMS = pd.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["Star", "Star Trip", "Moon", "Star"]})
NEW = pd.DataFrame({"item_id": ["e", "f"], "title": ["Moon Trip", "Port"]})
SEQUENCES = {"a": ["<x_1>", "<y_1>"], "b": ["<x_1>", "<y_2>"], "c": ["<x_2>"], "d": ["<x_3>", "<y_1>"]}


def write(path: Path, codes: Any) -> FileCode:
    path.write_text(json.dumps(codes), encoding="utf-8")
    return FileCode(path=path)


def begun(codes: list[list[int]]) -> list[tuple[int, int]]:
    """Pairs of items of which the first one's tokens begin the second one's."""
    pairs = itertools.permutations(range(len(codes)), 2)
    return [(one, two) for one, two in pairs if codes[two][: len(codes[one])] == codes[one]]


@pytest.fixture(params=CODES, ids=lambda kind: kind.type_name())
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> CatalogIndex:
    chosen: dict[str, Any] = {"type": request.param.type_name()}
    if request.param is FileCode:
        chosen = write(tmp_path / "codes.json", SEQUENCES).model_dump()
    return build_index(ITEMS, IndexConfig.model_validate({"backbone": TINY, "code": chosen}))


def test_no_items_sequence_begins_another(catalog: CatalogIndex) -> None:
    assert len(catalog.item_tokens) == len(ITEMS)
    assert begun(catalog.item_tokens) == []
    assert max(map(max, catalog.item_tokens)) < catalog.vocabulary


def test_the_same_items_have_the_same_codes(catalog: CatalogIndex) -> None:
    again = build_index(ITEMS, catalog.config)
    assert again.item_tokens == catalog.item_tokens
    assert again.vocabulary == catalog.vocabulary


def test_settings_and_codes_are_read_as_they_were_saved(catalog: CatalogIndex, tmp_path: Path) -> None:
    catalog.save(tmp_path / "catalog")
    again = CatalogIndex.load(tmp_path / "catalog")
    assert again.config == catalog.config
    assert again.item_tokens == catalog.item_tokens


def test_new_items_leave_the_known_codes_or_are_refused(catalog: CatalogIndex) -> None:
    code = as_code(catalog.config.code)
    if not code.takes_new_items:
        with pytest.raises(RereError, match=f"`code: {code.type}`, which codes the whole catalogue.*retrain"):
            extend_index(catalog, NEW)
        return
    grown = extend_index(catalog, NEW)
    assert grown.item_ids == [*"abcdef"]
    for old, now in zip(catalog.item_tokens, grown.item_tokens, strict=False):
        assert now[: len(old)] == old  # a prefix that a new title begins with goes on
    assert begun(grown.item_tokens) == []


def test_a_name_alone_is_a_code() -> None:
    named = {code: IndexConfig.model_validate({"code": code}).code for code in ("title", "prefix", "semantic", "item")}
    assert all(isinstance(code, ItemCode) and code.type == name for name, code in named.items())
    assert IndexConfig().code == named["item"]


def test_the_earlier_key_of_semantic_ids_is_refused_with_todays() -> None:
    with pytest.raises(RereError, match=r"semantic: is called `code: \{type: semantic, \.\.\.\}` now"):
        validated(IndexConfig, {"code": "semantic", "semantic": {"levels": 3}})


@pytest.mark.parametrize("name", ["prefix", "semantic"])
def test_a_catalogue_saved_with_the_earlier_keys_is_read(name: str, tmp_path: Path) -> None:
    semantic = {"embedding": {"type": "tfidf", "dimensions": 4}, "levels": 3, "codewords": 2}
    saved = {"prefix": name, "semantic": {"type": name, **semantic}}[name]
    catalog = build_index(ITEMS, IndexConfig.model_validate({"backbone": TINY, "code": saved}))
    catalog.save(tmp_path)
    file = tmp_path / "index.json"
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts["config"] |= {"code": name, "semantic": semantic}
    file.write_text(json.dumps(facts), encoding="utf-8")
    seal(tmp_path)
    assert CatalogIndex.load(tmp_path).config == catalog.config


def test_semantic_ids_name_their_item_vectors() -> None:
    embedding = TitleEmbedding(dimensions=4)
    assert SemanticCode(embedding=embedding).item_vectors == embedding
    assert IndexConfig().code.item_vectors is None


# ---------------------------------------------------------------- made elsewhere


def test_codes_of_a_file_are_the_items(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = write(tmp_path / "codes.json", {"gone": ["<x_9>"], **SEQUENCES})
    with caplog.at_level(logging.INFO):
        catalog = build_index(ITEMS, IndexConfig(code=code, backbone=TINY))
    spelt = [catalog.tokenizer.convert_ids_to_tokens(tokens) for tokens in catalog.item_tokens]
    assert spelt == [SEQUENCES[item] for item in catalog.item_ids]
    assert "<x_9>" not in catalog.tokenizer.get_vocab()
    assert "1 codes are of items that the data lack" in caplog.text


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"a": ["<x_1>"], "c": ["<x_2>"]}, "none of 2 of 4 items, such as b, d"),
        (SEQUENCES | {"d": ["<x_1>", "<y_2>"]}, "<x_1><y_2> of item b and <x_1><y_2> of item d"),
        (SEQUENCES | {"c": ["<x_1>"]}, "<x_1> of item c and <x_1><y_1> of item a"),
        (SEQUENCES | {"c": ["<|end|>"]}, "got <|end|>"),
        (SEQUENCES | {"c": []}, "at 'c'"),
        (SEQUENCES | {"c": [" "]}, "at 'c'"),
        (SEQUENCES | {"c": "<x_1>"}, "at 'c'"),
        ([["<x_1>"]], "should be an object"),
    ],
)
def test_what_a_file_of_codes_may_not_hold(codes: Any, said: str, tmp_path: Path) -> None:
    code = write(tmp_path / "codes.json", codes)
    with pytest.raises(RereError) as refused:
        build_index(ITEMS, IndexConfig(code=code, backbone=TINY))
    assert said in str(refused.value)


def test_a_file_of_codes_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RereError, match=r"codes\.json; got No such file.*catalog\.code\.path"):
        build_index(ITEMS, IndexConfig(code=FileCode(path=tmp_path / "codes.json"), backbone=TINY))
