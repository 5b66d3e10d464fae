"""Each source on small files, and what it refuses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rere.config.data import TableFormat
from rere.data.sources import movielens
from rere.data.sources.amazon import AmazonReviews
from rere.data.sources.base import load_source, source_fingerprint
from rere.data.sources.hub import HubDataset
from rere.data.sources.movielens import MovieLens100K
from rere.data.sources.tables import Tables
from rere.errors import RereError
from tests.data.helpers import START, write_tables

EVENTS = "user_id,item_id,timestamp\n1,a,1000000000\nNA,b,1000000001\n"
ITEMS = 'item_id,title\na,Null\nb,"Trip, The"\n'


# ---------------------------------------------------------------- MovieLens-100K


def test_movielens_is_whole() -> None:
    raw = load_source(MovieLens100K())
    titles = raw.items.set_index("item_id")["title"]
    assert (len(raw.interactions), len(raw.items)) == (100_000, 1_682)
    assert raw.interactions.iloc[0].tolist() == ["196", "242", 881_250_949]
    assert titles["1"] == "Toy Story (1995)"
    assert titles["1412"] == "Land Before Time III: The Time of the Great Giving (1995)"  # its year column says "V"
    assert titles["267"] == "unkonwn"  # as in the file, and without a year


def test_movielens_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(RereError, match=r"pip install --no-deps recbole==1\.2\.1"):
        load_source(MovieLens100K())


def test_altered_movielens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(movielens.SHA256, "ml-100k.item", "0" * 64)
    with pytest.raises(RereError, match=r"ml-100k\.item with SHA-256 0000"):
        load_source(MovieLens100K())


# ---------------------------------------------------------------- tables


def test_csv_keeps_words_that_look_like_missing_values(tmp_path: Path) -> None:
    raw = load_source(write_tables(tmp_path, EVENTS, ITEMS))
    assert raw.interactions.to_dict("list") == {
        "user_id": ["1", "NA"],
        "item_id": ["a", "b"],
        "timestamp": [START, START + 1],
    }
    assert raw.items["title"].tolist() == ["Null", "Trip, The"]


def test_one_file_may_hold_both_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [5, 5], "timestamp": [START, START], "title": ["T", "T"]})
    frame.to_csv(tmp_path / "all.csv.gz", index=False)
    raw = load_source(Tables(interactions=tmp_path / "all.csv.gz", items=tmp_path / "all.csv.gz"))
    assert (len(raw.interactions), len(raw.items), raw.dropped) == (2, 1, {"repeated item rows": 1})


def test_parquet_with_other_names_and_times_within_a_second(tmp_path: Path) -> None:
    moments = pd.to_datetime(["2001-09-09 01:46:40.9", "2001-09-09 01:46:40.1"])
    pd.DataFrame({"who": [1, 2], "what": [5, 6], "when": moments}).to_parquet(tmp_path / "e.parquet")
    pd.DataFrame({"what": [5, 6], "name": ["A", "B"]}).to_parquet(tmp_path / "i.parquet")
    names: dict[str, Any] = {"user_column": "who", "item_column": "what", "time_column": "when", "title_column": "name"}
    raw = load_source(Tables(interactions=tmp_path / "e.parquet", items=tmp_path / "i.parquet", **names))
    assert raw.interactions["item_id"].tolist() == ["6", "5"]  # the fraction decides before it goes
    assert raw.interactions["timestamp"].tolist() == [START, START]


@pytest.mark.parametrize(
    ("events", "items", "said"),
    [
        ("user,item_id,timestamp\n1,a,1\n", ITEMS, "a column 'user_id' in .*interactions.csv.*user, item_id"),
        (EVENTS, "item_id,name\na,b\n", "a column 'title' in .*items.csv"),
        ("user_id,item_id,timestamp\n1,a,soon\n", ITEMS, "column 'timestamp' of .*interactions.csv.*'soon' in row 2"),
        ("user_id,item_id,timestamp\n", ITEMS, "rows in .*interactions.csv"),
        ("user_id,item_id,timestamp\n1,a,1,9\n1,a,1,9\n", ITEMS, "3 fields in every line of .*4 in line 2: '1,a,1,9'"),
        ("user_id,item_id,timestamp\n\n1,a,1\n1,a,1,9\n", ITEMS, "3 fields in every line of .*4 in line 4"),
        ("user_id,item_id,timestamp\n1,a\n", ITEMS, "3 fields in every line of .*2 in line 2"),
        ("", ITEMS, "a header line in .*interactions.csv"),
    ],
)
def test_bad_tables_are_refused_by_name(tmp_path: Path, events: str, items: str, said: str) -> None:
    with pytest.raises(RereError, match=said):
        load_source(write_tables(tmp_path, events, items))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    source = write_tables(tmp_path, EVENTS, ITEMS)
    with pytest.raises(RereError, match="no such file"):
        load_source(source.model_copy(update={"items": tmp_path / "none.csv"}))
    (tmp_path / "items.xlsx").write_text("x")
    with pytest.raises(RereError, match=r"a \.csv, \.tsv"):
        load_source(source.model_copy(update={"items": tmp_path / "items.xlsx"}))
    (tmp_path / "items.parquet").write_text("not parquet")
    with pytest.raises(RereError, match="readable items table"):
        load_source(source.model_copy(update={"items": tmp_path / "items.parquet"}))


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    source = write_tables(tmp_path, EVENTS, ITEMS)
    before = source_fingerprint(source)
    assert source_fingerprint(source) == before
    Path(source.items).write_text(ITEMS + "c,C\n")
    assert source_fingerprint(source) != before


# ---------------------------------------------------------------- Amazon reviews


def amazon(folder: Path, reviews: Sequence[object], items: Sequence[object], **settings: Any) -> AmazonReviews:
    """Lines: text as it is, anything else as JSON."""
    for name, lines in (("reviews", reviews), ("meta", items)):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode()))
    return AmazonReviews(reviews=folder / "reviews.json.gz", metadata=folder / "meta.json.gz", **settings)


def review(user: str, item: str, time: int) -> dict[str, object]:
    return {"reviewerID": user, "asin": item, "unixReviewTime": time, "reviewText": "…"}


def test_amazon_2014_with_literals(tmp_path: Path) -> None:
    source = amazon(
        tmp_path,
        [review("u", "A", START), review("u", "B", START + 5), review("v", "A", START + 9)],
        ["{'asin': 'A', 'title': 'Salt &amp; \\'Pepper\\''}", "{'asin': 'B', 'price': 3}", {"asin": "C", "title": "?"}],
    )
    raw = load_source(source)
    assert raw.items.to_dict("list") == {"item_id": ["A"], "title": ["Salt & 'Pepper'"]}
    assert raw.interactions.to_dict("list") == {
        "user_id": ["u", "v"],
        "item_id": ["A", "A"],
        "timestamp": [START, START + 9],
    }
    assert raw.dropped["reviews of items without a title"] == 1
    assert raw.dropped["metadata of items without a review"] == 1


def test_amazon_2023_in_milliseconds_and_a_period(tmp_path: Path) -> None:
    rows = [
        {"user_id": f"u{n}", "asin": "variant", "parent_asin": "P", "timestamp": (START + n * 86_400) * 1000 + 7}
        for n in range(4)
    ]
    source = amazon(tmp_path, rows, [{"parent_asin": "P", "title": "T"}], since="2001-09-10", until="2001-09-12")
    raw = load_source(source)  # the four are of 9, 10, 11 and 12 September
    assert raw.interactions["user_id"].tolist() == ["u1", "u2"]
    assert raw.interactions["item_id"].unique().tolist() == ["P"]
    assert raw.interactions["timestamp"].tolist() == [START + 86_400, START + 2 * 86_400]
    assert raw.dropped["reviews outside since/until"] == 2


def test_amazon_malformed_lines_up_to_one_percent(tmp_path: Path) -> None:
    good = [review(f"u{n}", "A", START) for n in range(99)]
    titles: list[object] = [{"asin": "A", "title": "T"}]
    assert load_source(amazon(tmp_path, [*good, "{broken"], titles)).dropped["malformed review lines"] == 1
    with pytest.raises(RereError, match=r"2 of 100, such as '\{broken'"):
        load_source(amazon(tmp_path, [*good[:-1], "{broken", {"asin": "A"}], titles))


def test_amazon_never_evaluates(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    code = f"{{'asin': __import__('pathlib').Path({str(trap)!r}).touch()}}"
    with pytest.raises(RereError, match="malformed"):
        load_source(amazon(tmp_path, [review("u", "A", START)], [code]))
    assert not trap.exists()


def test_amazon_cut_off_download(tmp_path: Path) -> None:
    source = amazon(tmp_path, [review(f"u{n}", "A", START) for n in range(999)], [{"asin": "A", "title": "T"}])
    reviews = Path(source.reviews)
    reviews.write_bytes(reviews.read_bytes()[:-20])
    with pytest.raises(RereError, match="a whole gzip file"):
        load_source(source)


# ---------------------------------------------------------------- datasets


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("hub_cache")
def test_datasets_from_local_directories(tmp_path: Path) -> None:
    for name, text in (("events", EVENTS.replace("NA", "2")), ("items", ITEMS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(text)
    source = HubDataset(interactions=str(tmp_path / "events"), items=str(tmp_path / "items"))
    raw = load_source(source)
    assert raw.interactions["user_id"].tolist() == ["1", "2"]
    assert raw.interactions["timestamp"].tolist() == [START, START + 1]
    assert raw.items["item_id"].tolist() == ["a", "b"]
    before = source_fingerprint(source)
    (tmp_path / "items" / "data.csv").write_text(ITEMS + "c,C\n")
    assert source_fingerprint(source) != before
    with pytest.raises(RereError, match="split 'nightly'"):
        load_source(source.model_copy(update={"items_split": "nightly"}))
    with pytest.raises(RereError, match="a column 'name'"):
        load_source(source.model_copy(update={"title_column": "name"}))


@pytest.mark.usefixtures("hub_cache")
def test_datasets_of_text_are_read_like_tables(tmp_path: Path) -> None:
    for name, text in (
        ("events", "user_id;item_id;timestamp\n007;0108775015;1000000000\nNA;0108775028;1000000001\n"),
        ("items", 'item_id,title\n0108775015,"Trip, The"\n0108775028,Null\n'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(text)
    source = HubDataset(interactions=str(tmp_path / "events"), items=str(tmp_path / "items"))
    with pytest.raises(RereError, match=r"set `interactions_format: .delimiter"):
        load_source(source)
    raw = load_source(source.model_copy(update={"interactions_format": TableFormat(delimiter=";")}))
    assert raw.interactions["user_id"].tolist() == ["007", "NA"]
    assert raw.interactions["item_id"].tolist() == ["0108775015", "0108775028"]
    assert raw.items["title"].tolist() == ["Trip, The", "Null"]
    (tmp_path / "items" / "data.csv").write_text('item_id,title\n1,"a\n2,b\n3,c"\n')
    with pytest.raises(RereError, match="quotes that open and close a field"):
        load_source(source.model_copy(update={"interactions_format": TableFormat(delimiter=";")}))


@pytest.mark.usefixtures("hub_cache")
def test_datasets_of_parquet_and_json_lines_in_several_splits(tmp_path: Path) -> None:
    for split, ids in (("train", [2**63, 1]), ("test", [2**53 + 1, None])):
        (tmp_path / "events").mkdir(exist_ok=True)
        users = pd.array(ids, dtype="UInt64")
        frame = pd.DataFrame({"user_id": users, "item_id": ["i", "i"], "timestamp": [START, START]})
        frame.to_parquet(tmp_path / "events" / f"{split}.parquet", index=False)
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "all.jsonl").write_text(json.dumps({"item_id": "i", "title": "T"}) + "\n")
    source = HubDataset(
        interactions=str(tmp_path / "events"), interactions_split="train+test", items=str(tmp_path / "items")
    )
    raw = load_source(source)
    assert raw.interactions["user_id"].tolist() == [str(2**63), "1", str(2**53 + 1), ""]
    assert len(raw.sha256) == 3
    assert not raw.noticed  # directories need no pin


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("name", ["notes.txt", "data.pkl", "events.py"])
def test_datasets_of_other_kinds_are_refused_and_never_run(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / name).write_text(f"import pathlib; pathlib.Path({str(trap)!r}).touch()\n")
    with pytest.raises(RereError, match="events'"):
        load_source(HubDataset(interactions=str(tmp_path / "events"), items=str(tmp_path / "events")))
    assert not trap.exists()


@pytest.mark.usefixtures("hub_cache")
def test_datasets_out_of_reach() -> None:
    with pytest.raises(RereError, match="'nobody/nothing'"):
        load_source(HubDataset(interactions="nobody/nothing", items="nobody/nothing"))
