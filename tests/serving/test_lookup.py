"""Ids and titles to item indices."""

from __future__ import annotations

import pandas as pd
import pytest

from rere.catalog.index import build_index
from rere.config.backbone import ScratchModel
from rere.config.catalog import IndexConfig
from rere.errors import RereError
from rere.serving.lookup import ItemLookup


@pytest.fixture(scope="module")
def lookup() -> ItemLookup:
    items = pd.DataFrame({"item_id": ["7", "8", "9", "Alien"], "title": ["Alien", "Brazil", "Brazil", "Heat"]})
    return ItemLookup(build_index(items, IndexConfig(backbone=ScratchModel(vocabulary=300))))


def test_ids_and_titles(lookup: ItemLookup) -> None:
    assert lookup.indices(["8", "Heat", "7"]) == [1, 3, 0]


def test_an_id_wins_over_a_title(lookup: ItemLookup) -> None:
    assert lookup.indices(["Alien"]) == [3]


@pytest.mark.parametrize(
    ("history", "message"),
    [([], "an empty one"), (["Brasil"], "got 'Brasil'"), (["Brazil"], r"which 2 share.*\['8', '9'\]")],
)
def test_what_cannot_be_found_is_named(lookup: ItemLookup, history: list[str], message: str) -> None:
    with pytest.raises(RereError, match=message):
        lookup.indices(history)
