"""Titles, order, periods, k-core and the report that accounts for every row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.config.data import Chronological, LeaveOneOut, TrainingCore
from rere.config.ingest import IngestConfig
from rere.data.dataset import Dataset
from rere.data.ingest import ingest
from rere.data.k_core import k_core
from rere.data.periods import TEST, TRAIN, VALID, assign_periods
from rere.data.titles import normalise_titles
from rere.errors import RereError
from tests.data.helpers import SHARED, START, write_events, write_tables

LETTERS = {letter: f"Item {letter}" for letter in "abcdef"}


# ---------------------------------------------------------------- titles


def test_titles_are_normalised_and_counted() -> None:
    given = pd.Series(["Cafe\u0301", "a\u202eb\x00c", " two \t lines\n", "word " * 4, "x" * 12, "fine", ""])
    titles, counts = normalise_titles(given, limit=10)
    assert titles.tolist() == ["Café", "abc", "two lines", "word word", "x" * 10, "fine", ""]
    assert list(counts.values()) == [0, 1, 1, 2, 2]  # entities, control, NFC, white space, cut


# ---------------------------------------------------------------- periods


def test_leave_one_out() -> None:
    users = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    got = assign_periods(users, np.arange(9), np.arange(9), LeaveOneOut())
    assert got.tolist() == [TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, TRAIN, VALID, TEST]


def test_chronological_by_hand() -> None:
    # Times of user 0: 1…8; of user 1: 5 and 9; of user 2: 9. Windows (not first rows) in order of time:
    # 2 3 4 5 6 7 8 (user 0), 9 (user 1): eight. Cut at 6 and 7 of 8: validation from time 8, test from user 1's 9.
    # User 2's first row, later in the file at time 9, falls after that cut.
    users = np.array([0] * 8 + [1, 1, 2])
    times = np.array([1, 2, 3, 4, 5, 6, 7, 8, 5, 9, 9])
    got = assign_periods(users, times, np.arange(11), Chronological(train=0.75, valid=0.125))
    assert got.tolist() == [TRAIN] * 7 + [VALID, TRAIN, TEST, TEST]


def test_file_order_decides_between_equal_times() -> None:
    users, times = np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2])
    halves = Chronological(train=0.5, valid=0.25)
    assert assign_periods(users, times, np.array([0, 1, 2, 3]), halves).tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    assert assign_periods(users, times, np.array([0, 3, 1, 2]), halves).tolist() == [TRAIN, TEST, TRAIN, TRAIN]


def test_shares_are_of_whole_windows() -> None:
    users, times = np.zeros(11, dtype=int), np.arange(11)  # ten windows; 0.7 + 0.1 is a hair below 0.8
    got = assign_periods(users, times, times, Chronological(train=0.7, valid=0.1))
    assert np.bincount(got).tolist() == [8, 1, 2]  # the first row, of no window, is in training


# ---------------------------------------------------------------- k-core


def slow_k_core(rows: list[tuple[int, int]], k: int) -> tuple[set[int], set[int]]:
    """Users and items that go: remove any one that has too few rows, until none has."""
    alive = list(rows)
    gone_users, gone_items = set[int](), set[int]()
    while True:
        users = {u for u, _ in rows if u not in gone_users and sum(u == other for other, _ in alive) < k}
        items = {i for _, i in rows if i not in gone_items and sum(i == other for _, other in alive) < k}
        if not users and not items:
            return gone_users, gone_items
        if users:
            gone_users.add(min(users))
        else:
            gone_items.add(min(items))
        alive = [(u, i) for u, i in alive if u not in gone_users and i not in gone_items]


@pytest.mark.parametrize("seed", range(20))
def test_k_core_against_removing_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 12, 60), random.integers(0, 10, 60)
    training = random.random(60) < 0.8
    users[-1], training[-1] = 12, False  # a user whom training doesn't know
    training &= users != 12
    keep_users, keep_items = k_core(users, items, training, k=4)
    rows = [(int(u), int(i)) for u, i, t in zip(users, items, training, strict=True) if t]
    gone_users, gone_items = slow_k_core(rows, 4)
    assert set(np.flatnonzero(~keep_users).tolist()) == gone_users
    assert set(np.flatnonzero(~keep_items).tolist()) == gone_items
    assert keep_users[12]


# ---------------------------------------------------------------- the whole


def rows_of(dataset: Dataset) -> list[tuple[str, str, int, str]]:
    return [(u, i, t - START, p) for u, i, t, p in dataset.interactions.itertuples(index=False, name=None)]


def test_order_ties_and_repetitions(tmp_path: Path) -> None:
    events = [("v", "a", 9), ("u", "c", 5), ("u", "b", 5), ("u", "a", 1), ("u", "c", 5)]
    dataset = ingest(IngestConfig(source=write_events(tmp_path, events, LETTERS), k_core=1))
    assert rows_of(dataset) == [
        ("v", "a", 9, "train"),
        ("u", "a", 1, "train"),
        ("u", "c", 5, "valid"),  # before b, as in the file
        ("u", "b", 5, "test"),
    ]
    assert dataset.report.dropped == {"interactions repeated exactly (user, item, time)": 1}
    assert dataset.report.noticed == {"users of fewer than three interactions, all training": 1}
    assert dataset.items["item_id"].tolist() == list("abcdef")  # file order; nobody took d, e and f


def filter_case(tmp_path: Path, unseen: str) -> Dataset:
    # Leave one out. Training: u a b, v a b, w a c; so c has one training row, d and e have none.
    events = [
        *[("u", item, n) for n, item in enumerate("abce")],
        *[("v", item, n) for n, item in enumerate("abda")],
        *[("w", item, n) for n, item in enumerate("acbd")],
    ]
    source = write_events(tmp_path, events, LETTERS)
    return ingest(
        IngestConfig.model_validate({"source": source, "k_core": {"type": "training_core", "k": 2}, "unseen": unseen})
    )


def test_k_core_counts_training_only(tmp_path: Path) -> None:
    # 2-core: c goes (1), then w (1 left: a), and with w its test row d. u's validation row c goes with c.
    # d and e never occur in training: kept, although each has too few rows.
    dataset = filter_case(tmp_path, "keep")
    assert rows_of(dataset) == [
        ("u", "a", 0, "train"),
        ("u", "b", 1, "train"),
        ("u", "e", 3, "test"),
        ("v", "a", 0, "train"),
        ("v", "b", 1, "train"),
        ("v", "d", 2, "valid"),
        ("v", "a", 3, "test"),
    ]
    assert dataset.items["item_id"].tolist() == list("abdef")
    assert dataset.report.dropped == {
        "users below the 2-core of the training period": 1,
        "items below the 2-core of the training period": 1,
        "interactions below the 2-core of the training period": 5,
    }


def test_unseen_items_dropped_on_request(tmp_path: Path) -> None:
    dataset = filter_case(tmp_path, "drop")
    assert dataset.items["item_id"].tolist() == ["a", "b"]
    assert len(dataset.interactions) == 5
    assert dataset.report.dropped["items never seen in training"] == 3  # d, e and f
    assert dataset.report.dropped["interactions of users or items never seen in training"] == 2
    assert dataset.report.lines()[0].startswith("Ingest of tables")
    assert "  dropped    3 items never seen in training" in dataset.report.lines()
    lost = sum(count for reason, count in dataset.report.dropped.items() if reason.startswith("interactions"))
    assert dataset.report.kept["interactions"] == dataset.report.read["interactions"] - lost


def test_the_usual_k_core_counts_all_and_comes_before_the_split(tmp_path: Path) -> None:
    # Five interactions per user and item: a published 5-core file stays whole; its training part alone is none.
    events = [(user, item, n) for n, item in enumerate("abcde") for user in "uvwxy"]
    source = write_events(tmp_path, events, {letter: LETTERS[letter] for letter in "abcde"})
    usual = ingest(IngestConfig(source=source, k_core=5))
    assert usual.report.dropped == {}
    assert usual.report.kept == {"interactions": 25, "users": 5, "items": 5, "train": 15, "valid": 5, "test": 5}
    with pytest.raises(RereError, match="25 interactions below the 5-core of the training period"):
        ingest(IngestConfig(source=source, k_core=TrainingCore(k=5)))
    # One interaction fewer, and the whole 5-core goes; the split is of what is left.
    four = ingest(IngestConfig(source=write_events(tmp_path, events[:-1], LETTERS), k_core=4))
    assert four.report.kept["train"] == 14
    with pytest.raises(RereError, match="24 interactions below the 5-core"):
        ingest(IngestConfig(source=source, k_core=5))


@pytest.mark.parametrize("k_core", [3, {"type": "training_core", "k": 3}])
@pytest.mark.parametrize("unseen", ["keep", "drop"])
def test_no_filter_hides_what_validation_refuses(k_core: object, unseen: str, tmp_path: Path) -> None:
    events = [(user, item, n) for n, item in enumerate("abcabc") for user in "uvw"]
    rows = "".join(
        f"{user},{item},{START + time}\n" for user, item, time in [*events, ("rare", "zzz", 3), ("", "a", 4)]
    )
    source = write_tables(tmp_path, "user_id,item_id,timestamp\n" + rows, "item_id,title\na,A\nb,B\nc,C\nd, \n")
    dataset = ingest(IngestConfig.model_validate({"source": source, "k_core": k_core, "unseen": unseen}))
    assert rows_of(dataset)[-2:] == [("rare", "zzz", 3, "train"), ("", "a", 4, "train")]
    assert dataset.items["item_id"].tolist() == list("abcd")

    settings = {"source": source, "k_core": k_core, "orphans": "drop", "untitled": "drop"}
    clean = ingest(IngestConfig.model_validate(settings))
    assert clean.items["item_id"].tolist() == list("abc")
    assert clean.report.kept["interactions"] == len(events)
    assert clean.report.dropped == {
        "items without a title": 1,
        "interactions without a user": 1,
        "interactions with items that the catalogue lacks": 1,
    }


def test_untitled_items_go_with_their_interactions(tmp_path: Path) -> None:
    events = "user_id,item_id,timestamp\nu,a,1000000000\nu,b,1000000001\nu,c,1000000002\n"
    source = write_tables(tmp_path, events, "item_id,title\na,\u200b\nb,B\nc,\nc,C\n")
    dataset = ingest(IngestConfig(source=source, k_core=1, untitled="drop"))
    assert dataset.interactions["item_id"].tolist() == ["b", "c"]  # c has a title in another row
    assert dataset.report.dropped == {"items without a title": 2, "interactions with items without a title": 1}


def test_entities_in_titles(tmp_path: Path) -> None:
    titles = {
        "a": "Salt &amp; Pepper",
        "b": "R&D &notit; AT&T",
        "c": "&#8203;Caf&eacute; &#39;x&#x27;",
        "d": "&lt;b&gt;",
    }
    source = write_events(tmp_path, [("u", item, n) for n, item in enumerate(titles)], titles)
    dataset = ingest(IngestConfig(source=source, k_core=1))
    assert dataset.items["title"].tolist() == ["Salt & Pepper", "R&D &notit; AT&T", "Café 'x'", "<b>"]
    assert dataset.report.noticed["titles with HTML entities decoded"] == 3
    kept = ingest(IngestConfig(source=source, k_core=1, title_entities="keep"))
    assert kept.items["title"].tolist() == list(titles.values())


def test_nothing_left_says_which_filter(tmp_path: Path) -> None:
    source = write_events(tmp_path, [("u", "a", 1), ("u", "b", 2), ("v", "a", 3)], LETTERS)
    with pytest.raises(RereError, match=r"none of 3 read: 2 users below the 5-core.*3 interactions below the 5-core"):
        ingest(IngestConfig(source=source))


def test_what_validation_refuses_is_not_dropped_before(tmp_path: Path) -> None:
    events = "user_id,item_id,timestamp\nu,a,1000000000\nu,zzz,1000000001\nu,b,1000000002\n"
    source = write_tables(tmp_path, events, "item_id,title\na,  \nb,B\nb,Other\n")
    dataset = ingest(IngestConfig(source=source, k_core=1))
    assert dataset.interactions["item_id"].tolist() == ["a", "zzz", "b"]
    assert dataset.items.to_dict("list") == {"item_id": ["a", "b", "b"], "title": ["", "B", "Other"]}


def test_a_data_set_comes_back_as_saved(tmp_path: Path) -> None:
    dataset = filter_case(tmp_path, "keep")
    dataset.save(tmp_path / "saved")
    again = Dataset.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(again.interactions, dataset.interactions)
    pd.testing.assert_frame_equal(again.items, dataset.items)
    assert again.report == dataset.report


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/amazon_toys_2013")
def test_toys_2013_by_the_papers_split() -> None:
    from rere.config.data import SplitConfig
    from rere.data.sources.tables import Tables
    from rere.data.windows import make_windows

    folder = SHARED / "amazon_toys_2013"
    source = Tables(interactions=folder / "interactions.csv", items=folder / "items.csv")
    dataset = ingest(IngestConfig(source=source, split=Chronological(), k_core=1))
    windows = make_windows(dataset, SplitConfig())
    counts = windows.table["period"].value_counts()
    assert (counts["train"], counts["valid"], counts["test"]) == (33_972, 4_246, 4_247)  # of 42,465: 8:1:1
    assert 0.7 < windows.of("test")["warm"].mean() < 0.8  # about a quarter of the test targets are cold
