"""What is known of an item beyond its title, and who reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ops.runtime.run_dirs import catalogue_fingerprint
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.descriptions import descriptions
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.errors import RereError
from tests.conftest import TINY

# Titles say nothing; the genre tells the first two from the others.
ITEMS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Uno", "Dos", "Tres", "Cuatro"],
        "genre": ["space opera war", "space opera war", "kitchen drama love", "kitchen drama love"],
        "year": [1977.0, 1980.5, np.nan, 2001.0],
    }
)
CODE = SemanticCode(levels=1, codewords=2, embedding=TitleEmbedding(dimensions=4))


def index(names: tuple[str, ...], items: pd.DataFrame = ITEMS) -> CatalogIndex:
    return build_index(items, IndexConfig(backbone=TINY, code=CODE, text_columns=names))


def test_columns_are_told_after_the_title_and_missing_values_left_out() -> None:
    columns = pd.DataFrame({"genre": ["a\n b", None, " "], "year": [1995.0, np.nan, 1.5]})
    assert descriptions(["x", "y", "z"], columns, ("year", "genre")) == [
        "x; year: 1995; genre: a b",
        "y",
        "z; year: 1.5",
    ]
    assert descriptions(["x", "y", "z"], columns, ()) == ["x", "y", "z"]


def test_semantic_ids_are_made_of_what_the_columns_say() -> None:
    first = [codes[0] for codes in index(("genre",)).item_tokens]
    assert first[0] == first[1] != first[2] == first[3]
    without = build_index(ITEMS[["item_id", "title"]], IndexConfig(backbone=TINY, code=CODE))
    assert index(()).item_tokens == without.item_tokens  # columns that nobody names change nothing


def test_a_column_that_the_items_lack_is_one_clear_error() -> None:
    with pytest.raises(RereError, match=r"the columns maker of the items.*keeps genre, year.*item_columns"):
        index(("genre", "maker"))


def test_they_stay_with_a_saved_and_with_an_extended_catalogue(tmp_path: Path) -> None:
    catalog = index(("genre", "year"))
    catalog.save(tmp_path)
    assert CatalogIndex.load(tmp_path).descriptions == catalog.descriptions
    assert catalog.descriptions[1:3] == ["Dos; genre: space opera war; year: 1980.5", "Tres; genre: kitchen drama love"]
    config = IndexConfig(backbone=TINY, code=PrefixCode(), text_columns=("genre",))
    grown = extend_index(build_index(ITEMS, config), pd.DataFrame({"item_id": ["e"], "title": ["Cinco"]}))
    assert grown.descriptions[3:] == ["Cuatro; genre: kitchen drama love", "Cinco"]


def test_a_training_is_not_resumed_over_other_texts() -> None:
    """Of alignment, which reads them, though no code depends on them here."""
    config = IndexConfig(backbone=TINY, code=PrefixCode(), text_columns=("genre",))
    other = ITEMS.assign(genre="western")
    assert catalogue_fingerprint(build_index(ITEMS, config)) != catalogue_fingerprint(build_index(other, config))
    untold = config.model_copy(update={"text_columns": ()})
    assert catalogue_fingerprint(build_index(ITEMS, untold)) == catalogue_fingerprint(build_index(other, untold))
