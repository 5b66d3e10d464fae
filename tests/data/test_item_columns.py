"""The items' further columns: from the source's table, through ingest and storage, into the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import Table, parquet

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.warm_start import continue_index
from rere.config.catalog import IndexConfig
from rere.config.ingest import IngestConfig
from rere.config.reading import validated
from rere.data.collected import Collected, collect
from rere.data.dataset import Dataset
from rere.data.ingest import ingest
from rere.data.raw import OTHERWISE
from rere.data.sources.base import load_source
from rere.data.sources.hub import HubDataset
from rere.data.sources.tables import Tables
from rere.errors import RereError
from tests.conftest import TINY
from tests.data.helpers import START, write_tables

EVENTS = "user_id,item_id,timestamp\n" + "".join(f"u{n % 3},{'abc'[n % 3]},{START + n}\n" for n in range(12))
ITEMS = "price,item_id,brand,title,stock\n9.50,a,Acme,A &amp; B,3\n,b,,B,4\n1e2,c,007,C,5\nx,d,NA,D,6\n"
KEPT: dict[str, Any] = {"brand": "text", "price": "number"}


def source(folder: Path, items: str = ITEMS, **columns: Any) -> Tables:
    tables = write_tables(folder, EVENTS, items)
    return validated(Tables, {**tables.model_dump(), "item_columns": columns or KEPT})


def plain(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Missing numbers and texts as None, which equals itself."""
    return {str(name): [None if pd.isna(value) else value for value in column] for name, column in frame.items()}


def test_text_and_numbers_arrive_by_item(tmp_path: Path) -> None:
    dataset = ingest(IngestConfig(source=source(tmp_path, ITEMS.replace("x,d", "-3,d")), k_core=1))
    dataset.save(tmp_path / "kept")
    expected: dict[str, list[object]] = {
        "item_id": ["a", "b", "c", "d"],
        "title": ["A & B", "B", "C", "D"],
        "brand": ["Acme", "", "007", "NA"],
        "price": [9.5, None, 100.0, -3.0],
    }
    for one in (dataset, Dataset.load(tmp_path / "kept")):
        assert plain(one.items) == expected
    few = ingest(IngestConfig(source=source(tmp_path, ITEMS.replace("x,d", "-3,d")), unseen="drop", k_core=1))
    assert plain(few.items) == {name: values[:3] for name, values in expected.items()}


@pytest.mark.parametrize("kind", ["items.parquet", "items.jsonl"])
def test_typed_tables_and_the_hubs_layout(kind: str, tmp_path: Path) -> None:
    rows = [
        {"item_id": "a", "title": "A", "price": 1, "new": True, "code": 7},
        {"item_id": "b", "title": "B", "price": None, "new": None, "code": None},
        {"item_id": "c", "title": "C", "price": 3, "new": False, "code": 2**60 + 1},
    ]
    for name in ("events", "items"):
        (tmp_path / name).mkdir()
    (tmp_path / "events" / "data.csv").write_text(EVENTS)
    path = tmp_path / "items" / kind
    if kind == "items.parquet":
        parquet.write_table(Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept: dict[str, Any] = {"price": "number", "new": "number", "code": "text"}
    tables = Tables(interactions=tmp_path / "events" / "data.csv", items=path, item_columns=kept)
    raw = load_source(tables)
    assert plain(raw.items[list(kept)]) == {
        "price": [1.0, None, 3.0],
        "new": [1.0, None, 0.0],
        "code": ["7", "", str(2**60 + 1)],
    }


def test_a_data_set_laid_out_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name, text in (("events", EVENTS), ("items", ITEMS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(text)
    hub = HubDataset(interactions=str(tmp_path / "events"), items=str(tmp_path / "items"), item_columns=KEPT)
    with pytest.raises(RereError, match=r"numbers in column 'price' of .*data.csv.*got 'x' in row 5 \(1 such rows\)"):
        load_source(hub)
    raw = load_source(hub.model_copy(update={"item_columns": {"price": "text"}}))
    assert raw.items["price"].tolist() == ["9.50", "", "1e2", "x"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"brnd": "text"}, r"a column 'brnd' in .*did you mean 'brand'\?.*item_columns"),
        ({"stock": "numbr"}, r"item_columns.stock: .*did you mean `number`"),
        (["brand", "price"], r"item_columns: each column with what it holds: \{brand: text, price: number\}"),
        ({"title": "text"}, "title can't be kept: each item has an id and a title anyway"),
        ({"price": "number"}, r"numbers in column 'price' of .*items.csv.*got 'x' in row 5"),
    ],
)
def test_what_a_source_cannot_keep(columns: Any, message: str, tmp_path: Path) -> None:
    tables = write_tables(tmp_path, EVENTS, ITEMS).model_dump()
    with pytest.raises(RereError, match=message):
        load_source(validated(Tables, {**tables, "item_columns": columns}))


def test_of_repeated_items_the_first_values_stay_and_the_others_are_counted(tmp_path: Path) -> None:
    items = "item_id,title,brand\na,A,Acme\na,A,Acme\na,A,Other\nb,B,\n"
    raw = load_source(source(tmp_path, items, brand="text"))
    assert raw.items["brand"].tolist() == ["Acme", ""]
    assert (raw.dropped["repeated item rows"], raw.noticed[OTHERWISE]) == (2, 1)
    assert not load_source(write_tables(tmp_path, EVENTS, items)).noticed


def test_a_retraining_takes_the_values_of_today(tmp_path: Path) -> None:
    header = "item_id,title,brand,price\n"
    collect(load_source(source(tmp_path, header + "b,B,Old,1\ngone,Gone,Kept,2\n"))).save(tmp_path / "base")
    base = Collected.load(tmp_path / "base")
    today = header + "new,New,Fresh,\nb,B,Now,5\n"
    after = collect(load_source(source(tmp_path, today)), base)
    assert plain(after.items) == {
        "item_id": ["b", "gone", "new"],
        "title": ["B", "Gone", "New"],
        "brand": ["Now", "Kept", "Fresh"],
        "price": [5.0, 2.0, None],
    }
    assert after.report.noticed["titles that changed since the base"] == 0
    without = collect(load_source(write_tables(tmp_path, EVENTS, today)), base)
    assert list(without.items) == ["item_id", "title"]
    again = collect(load_source(source(tmp_path, today)), without)  # the setting came after the base
    assert plain(again.items)["brand"] == ["Now", None, "Fresh"]


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = {"item_id": ["a", "b", "c"], "title": ["Star A", "Star B", "Moon"]}
    further = {"text": ["1e5", "", "007"], "price": [0.1234567890123456, float("nan"), 3.0]}  # also a name of its own
    return pd.DataFrame({**rows, **further}, index=[4, 7, 9])


@pytest.fixture(scope="module")
def catalog(items: pd.DataFrame) -> CatalogIndex:
    return build_index(items, IndexConfig(backbone=TINY, code=PrefixCode()))


def test_a_catalogue_keeps_them(catalog: CatalogIndex, tmp_path: Path) -> None:
    catalog.save(tmp_path)
    for one in (catalog, CatalogIndex.load(tmp_path)):
        assert plain(one.columns) == {"text": ["1e5", "", "007"], "price": [0.1234567890123456, None, 3.0]}
        assert one.column_kinds == {"text": "text", "price": "number"}
        assert one.items["text"].tolist() == ["Star A", "Star B", "Moon"]


def test_a_catalogue_without_them_is_as_before(items: pd.DataFrame, tmp_path: Path) -> None:
    build_index(items[["item_id", "title"]], IndexConfig(code=PrefixCode(), backbone=TINY)).save(tmp_path)
    assert not (tmp_path / "columns.arrow").exists()
    assert CatalogIndex.load(tmp_path).column_kinds == {}


def test_items_added_while_serving_lack_them(catalog: CatalogIndex) -> None:
    grown = extend_index(catalog, pd.DataFrame({"item_id": ["d"], "title": ["Sun"]}))
    assert plain(grown.columns) == {"text": ["1e5", "", "007", None], "price": [0.1234567890123456, None, 3.0, None]}


def test_a_continued_catalogue_has_those_of_today(catalog: CatalogIndex) -> None:
    today = {"item_id": ["d", "c", "a"], "title": ["Sun", "Moon", "Star A"], "price": [1.0, 2.0, 3.0]}
    later = continue_index(catalog, pd.DataFrame(today))
    assert later.item_ids == ["d", "c", "a"]
    assert plain(later.columns) == {"price": [1.0, 2.0, 3.0]}
