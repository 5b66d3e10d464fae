"""Columns in blocks and temporary files against the same at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.config.data import Chronological, LeaveOneOut, SplitConfig, SplitRule
from rere.config.ingest import IngestConfig
from rere.data import blockwise
from rere.data.codes import TextCodes, by_appearance, coded, repeated_in_runs, without_unused
from rere.data.dataset import Dataset, Windows
from rere.data.ingest import ingest
from rere.data.sources.tables import Tables
from rere.data.windows import make_windows
from rere.errors import RereError


@pytest.fixture(params=[7, 1_000_000])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(blockwise, "BLOCK_ROWS", request.param)
    return int(request.param)


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 50, 300])
@pytest.mark.parametrize("different", [1, 3, 40])
def test_neighbours_and_counts(rows: int, different: int, block_rows: int) -> None:
    values = np.sort(np.random.default_rng(rows).integers(0, different, rows))
    assert blockwise.run_numbers(values).tolist() == pd.factorize(values)[0].tolist()
    assert blockwise.tally(values, different).tolist() == np.bincount(values, minlength=different).tolist()
    parts = list(blockwise.runs(values))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all(values[part.stop - 1] != values[part.stop] for part in parts[:-1])


def test_rows_are_kept_and_taken(block_rows: int) -> None:
    random = np.random.default_rng(0)
    text = pd.Categorical.from_codes(random.integers(-1, 3, 40), pd.Index(["x", "y", "z"]))
    frame = pd.DataFrame({"text": text, "number": random.integers(0, 9, 40)})
    kept, rows = random.random(40) < 0.7, random.permutation(40)
    pd.testing.assert_frame_equal(blockwise.kept_rows(frame, kept), frame[kept].reset_index(drop=True))
    pd.testing.assert_frame_equal(blockwise.taken_rows(frame, rows), frame.iloc[rows].reset_index(drop=True))
    in_memory = blockwise.looked_up(np.arange(40), rows).flags.owndata
    assert in_memory == (block_rows > 40)  # else it is a file's
    assert blockwise.tally(frame["text"].cat.codes.to_numpy(), 3).tolist() == [
        int((frame["text"] == name).sum()) for name in "xyz"
    ]


def test_columns_are_looked_at_without_a_copy() -> None:
    values = np.arange(40)
    text = pd.Categorical.from_codes(np.arange(40) % 3, pd.Index(["x", "y", "z"]))
    frame = pd.DataFrame({"text": text}, copy=False)
    more = blockwise.with_column(frame, "number", values)
    pd.testing.assert_frame_equal(more, frame.assign(number=values))
    assert np.shares_memory(more["number"].to_numpy(), values)
    assert np.shares_memory(coded(more["text"])[0], text.codes)


def test_codes(block_rows: int) -> None:
    random = np.random.default_rng(1)
    column = pd.Series(random.integers(0, 30, 200)).map("n{}".format)
    text = TextCodes()
    for low in range(0, 200, 9):
        text.add(column[low : low + 9])
    found = text.column()
    assert found.astype("str").tolist() == column.tolist()
    assert found.cat.categories.tolist() == column.drop_duplicates().tolist()
    shuffled = found.iloc[random.permutation(200)[:60]]
    assert by_appearance(shuffled).tolist() == pd.factorize(shuffled)[0].tolist()
    pd.testing.assert_series_equal(without_unused(shuffled), shuffled.cat.remove_unused_categories())
    frame = pd.DataFrame({"user": np.sort(random.integers(0, 9, 200)), "item": column})
    assert repeated_in_runs(frame, ["user", "item"]).tolist() == frame.duplicated(["user", "item"]).tolist()


@pytest.mark.parametrize("split", [LeaveOneOut(), Chronological(train=0.6, valid=0.2)])
@pytest.mark.parametrize("times", ["seconds", "milliseconds"])
def test_data_sets_and_windows_are_the_same(
    split: SplitRule, times: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    moments = 1_600_000_000 + random.integers(0, 50, 600) * (0.25 if times == "milliseconds" else 1)
    events = {
        "user_id": [f"u{n}" for n in random.integers(0, 40, 600)],
        "item_id": [f"i{n}" for n in random.integers(0, 30, 600)],
        "timestamp": (moments * (1000 if times == "milliseconds" else 1)).astype(np.int64),
    }
    items = {"item_id": [f"i{n}" for n in range(28)], "title": [f"T{n}" for n in range(28)]}  # two are unknown
    source = Tables(interactions=tmp_path / "events.parquet", items=tmp_path / "items.parquet")
    pd.DataFrame(events).to_parquet(source.interactions)
    pd.DataFrame(items).to_parquet(source.items)
    config = IngestConfig(source=source, split=split, orphans="drop", unseen="drop")

    def made(name: str) -> tuple[Dataset, Windows]:
        ingest(config).save(tmp_path / name)
        dataset = Dataset.load(tmp_path / name)
        return dataset, make_windows(dataset, SplitConfig(history_items=4))

    whole, whole_windows = made("whole")
    monkeypatch.setattr(blockwise, "BLOCK_ROWS", 7)
    _, parts_windows = made("parts")
    assert whole.report.dropped["interactions with items that the catalogue lacks"]
    for name in ("interactions.arrow", "origin_interactions.npy", "report.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    pd.testing.assert_frame_equal(parts_windows.table, whole_windows.table)
    assert parts_windows.fingerprint == whole_windows.fingerprint


def test_no_room_for_temporary_files_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blockwise, "BLOCK_ROWS", 7)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(RereError, match="TMPDIR"):
        blockwise.in_blocks(30, np.int64, lambda block: np.arange(block.start, block.stop))
