"""Whatever the files hold: a data set, or one RereError in words. Never another exception."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rere.config.data import SplitConfig
from rere.config.ingest import IngestConfig
from rere.data.flags import flag_interactions, flag_items, flag_windows
from rere.data.ingest import ingest
from rere.data.profile import make_profile
from rere.data.sequences import training_sequences
from rere.data.sources import movielens
from rere.data.sources.amazon import AmazonReviews
from rere.data.sources.movielens import MovieLens100K
from rere.data.sources.window_files import WindowFiles
from rere.data.windows import make_windows
from rere.errors import RereError
from tests.data.helpers import START

MANY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = st.sampled_from(
    [
        *("", " ", "[", "[]", "['a' 'b']", "['a''b']", "[1 2]", "['1', None]", "[nan]", "[1e999]", "[True]", "[[1]]"),
        *("inf", "nan", "1e999", "9" * 30, "9" * 5000, "-1", "1.5", "None", "null", "NA", "\x00", "\u202e", "\u2028"),
        *("2001-09-09", "0001-01-01", "9999-12-31", "1000000000000", "a\tb", "a,b", '"', "(" * 300, "[" * 300, "{}"),
    ]
)
CELLS = st.one_of(ODD, st.text(max_size=6))
COLUMNS = [
    "user_id",
    "history_item_id",
    "item_id",
    "timestamp",
    "history_timestamp",
    "item_title",
    "history_item_title",
]
GOOD = ["u", "['a', 'b']", "c", str(START), f"[{START - 2}, {START - 1}]", "C", "['A', 'B']"]
Change = tuple[int, int, str]


def read_through(config: IngestConfig) -> None:
    """A source to what validation looks at, as a run does it; a RereError is a good answer."""
    with contextlib.suppress(RereError):
        dataset = ingest(config)
        windows = make_windows(dataset, SplitConfig())
        flag_interactions(dataset)
        flag_items(dataset)
        flag_windows(windows, dataset)
        make_profile(dataset)
        training_sequences(dataset)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("malformed")


# ---------------------------------------------------------------- window files


def window_files(folder: Path, lists: bool = True) -> WindowFiles:
    paths: dict[str, Any] = {period: folder / f"{period}.csv" for period in ("train", "valid", "test")}
    return WindowFiles(**paths, items=folder / "items.txt" if lists else None)


def write_windows(folder: Path, changes: list[Change], columns: list[str]) -> None:
    """Three rows per period and user, then changed cells (row, column, text)."""
    rows = [list(GOOD) for _ in range(9)]
    for row, column, text in changes:
        rows[row][column] = text
    table = pd.DataFrame(rows, columns=COLUMNS)[columns]
    for n, period in enumerate(("train", "valid", "test")):
        table.iloc[3 * n : 3 * n + 3].to_csv(folder / f"{period}.csv", index=False)


CHANGES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, len(COLUMNS) - 1), CELLS), max_size=4)


@MANY
@given(changes=CHANGES, columns=st.permutations(COLUMNS), kept=st.integers(2, 7))
@example(changes=[(0, 1, "['a' 'b']"), (1, 3, "inf")], columns=COLUMNS, kept=7)
def test_window_files_with_odd_cells(changes: list[Change], columns: list[str], kept: int, folder: Path) -> None:
    write_windows(folder, changes, [name for name in COLUMNS if name in columns[:kept]])
    read_through(IngestConfig(source=window_files(folder, lists=False)))


@MANY
@given(train=st.binary(max_size=80), items=st.one_of(st.binary(max_size=40), st.text(max_size=40)))
def test_window_files_of_any_bytes(train: bytes, items: bytes | str, folder: Path) -> None:
    write_windows(folder, [], COLUMNS)
    (folder / "items.txt").write_bytes(items if isinstance(items, bytes) else items.encode("utf-8", "surrogatepass"))
    read_through(IngestConfig(source=window_files(folder)))
    (folder / "train.csv").write_bytes(train)
    read_through(IngestConfig(source=window_files(folder, lists=False)))


PARQUET_VALUES: dict[str, Callable[[], Any]] = {
    "lists of lists": lambda: [[["a"]], [["b"]]],
    "lists with nulls": lambda: [["a", None], None],
    "dates": lambda: pd.to_datetime(["2001-09-09", "2001-09-10"]),
    "floats": lambda: [1.5, float("inf")],
    "structures": lambda: [{"a": 1}, {"a": 2}],
    "bytes": lambda: [b"a", b"\xff"],
    "truths": lambda: [True, False],
    "nulls": lambda: [None, None],
    "unsigned": lambda: pd.array([2**64 - 1, 1], dtype="UInt64"),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", PARQUET_VALUES)
def test_parquet_window_files_of_other_types(kind: str, column: str, folder: Path) -> None:
    good: dict[str, Any] = {name: [value] * 2 for name, value in zip(COLUMNS, GOOD, strict=True)}
    for period in ("train", "valid", "test"):
        pd.DataFrame(good | {column: PARQUET_VALUES[kind]()}).to_parquet(folder / f"{period}.parquet")
    paths: dict[str, Any] = {period: folder / f"{period}.parquet" for period in ("train", "valid", "test")}
    read_through(IngestConfig(source=WindowFiles(**paths)))


# ---------------------------------------------------------------- Amazon reviews

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), ODD),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)
REVIEW = st.fixed_dictionaries(
    {}, optional={"reviewerID": JSON, "asin": JSON, "unixReviewTime": JSON, "user_id": JSON, "timestamp": JSON}
)


def amazon(folder: Path, reviews: list[str], items: list[str]) -> AmazonReviews:
    (folder / "reviews.json").write_text("\n".join(reviews), encoding="utf-8", errors="surrogatepass")
    (folder / "meta.json").write_text("\n".join(items), encoding="utf-8", errors="surrogatepass")
    return AmazonReviews(reviews=folder / "reviews.json", metadata=folder / "meta.json")


@MANY
@given(reviews=st.lists(REVIEW, max_size=3), titles=st.lists(JSON, max_size=2), lines=st.lists(st.text(), max_size=2))
@example(reviews=[{"reviewerID": "\ud800", "asin": "a", "unixReviewTime": START}], titles=["A", "\udfff"], lines=[])
@example(reviews=[{"reviewerID": "u", "asin": "a", "unixReviewTime": 10**30}], titles=["A"], lines=["9" * 5000])
def test_amazon_lines(reviews: list[dict[str, Any]], titles: list[Any], lines: list[str], folder: Path) -> None:
    good = [{"reviewerID": f"u{n % 9}", "asin": f"i{n % 7}", "unixReviewTime": START + n} for n in range(400)]
    items = [{"asin": f"i{n}", "title": f"Item {n}"} for n in range(300)]
    odd = [{"asin": "a", "title": title} for title in titles]
    written = [json.dumps(row) for row in [*good, *reviews]]
    read_through(
        IngestConfig(source=amazon(folder, [*written, *lines], [json.dumps(item) for item in [*items, *odd]]), k_core=1)
    )
    read_through(IngestConfig(source=amazon(folder, [json.dumps(row) for row in reviews], lines), k_core=1))


@MANY
@given(content=st.binary(max_size=60), cut=st.integers(1, 20))
def test_amazon_files_of_any_bytes(content: bytes, cut: int, folder: Path) -> None:
    whole = gzip.compress(json.dumps({"reviewerID": "u", "asin": "a", "unixReviewTime": START}).encode())
    for reviews in (content, whole[:-cut], whole + content):
        (folder / "r.json.gz").write_bytes(reviews)
        (folder / "m.json").write_bytes(content)
        source = AmazonReviews(reviews=folder / "r.json.gz", metadata=folder / "m.json")
        read_through(IngestConfig(source=source, k_core=1))


# ---------------------------------------------------------------- MovieLens-100K


class Installed:
    """A file of a package, as `importlib.metadata` lists it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def __str__(self) -> str:
        return movielens.FOLDER + self.name

    def locate(self) -> Path:
        return self.path


@MANY
@given(content=st.binary(max_size=60))
def test_movielens_files_of_any_bytes(content: bytes, folder: Path) -> None:
    listed = [Installed(name, folder / name) for name in movielens.SHA256]
    for file in listed:
        file.path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "files", lambda _: listed)
        with pytest.raises(RereError, match="force-reinstall"):
            ingest(IngestConfig(source=MovieLens100K()))
