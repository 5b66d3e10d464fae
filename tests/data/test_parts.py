"""Sources that come in parts against the same sources read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.config.data import Chronological
from rere.config.ingest import IngestConfig
from rere.data import blocks, codes, parquet_files, tables
from rere.data.dataset import Dataset
from rere.data.ingest import ingest
from rere.data.sources.base import load_source
from rere.data.sources.tables import Tables
from rere.data.times import TimeParts, read_times
from rere.errors import RereError

ROWS = 400


def source(folder: Path, ending: str) -> Tables:
    """Random interactions, some repeated; two items that nobody takes."""
    random = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in random.integers(0, 30, ROWS)],
            "item_id": [f"i{n}" for n in random.integers(0, 20, ROWS)],
            "timestamp": 1_600_000_000 + random.integers(0, 50, ROWS),
        }
    )
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(22)], "title": [f"Title {n}" for n in range(22)]})
    made = Tables(interactions=folder / f"interactions{ending}", items=folder / f"items{ending}")
    for table, path in ((events, made.interactions), (items, made.items)):
        if ending == ".parquet":
            table.to_parquet(path, index=False)
        else:
            table.to_csv(path, index=False)
    return made


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_small_parts_give_the_same_data_set(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = IngestConfig(source=source(tmp_path, ending), split=Chronological(), k_core=3)
    whole = ingest(config)
    assert whole.report.dropped["interactions repeated exactly (user, item, time)"] > 0
    monkeypatch.setattr(parquet_files, "PART_ROWS", 37)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 500)
    monkeypatch.setattr(codes, "BATCH_ROWS", 50)
    assert isinstance(config.source, Tables)
    wanted = tables.Wanted("interactions", ["user_id"], "")
    parts = list(tables.read_parts(Path(config.source.interactions), wanted))
    assert len(parts) > 5
    in_parts = ingest(config)
    pd.testing.assert_frame_equal(in_parts.interactions, whole.interactions)
    pd.testing.assert_frame_equal(in_parts.items, whole.items)
    assert in_parts.report == whole.report
    in_parts.save(tmp_path / "saved")
    back = Dataset.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(back.interactions, whole.interactions)
    assert not back.interactions["timestamp"].to_numpy().flags.owndata  # mapped, not copied


def test_errors_of_later_parts_name_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "PART_ROWS", 3)
    made = source(tmp_path, ".parquet")
    events = pd.read_parquet(made.interactions)
    events["user_id"] = [float(n) for n in range(ROWS)]
    events.loc[7, "user_id"] = 7.5
    events.to_parquet(made.interactions, index=False)
    with pytest.raises(RereError, match=r"'user_id'.*7\.5 in row 7\b"):
        load_source(made)


def test_large_ids_stay_whole_beside_missing_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "PART_ROWS", 2)
    made = source(tmp_path, ".parquet")
    large = 2**60 + 1  # as a float, it would end in 976
    users = pd.array([large, None, large, 4], dtype="Int64")
    times = pd.array([10, 11, 12, 13], dtype="Int64")
    pd.DataFrame({"user_id": users, "item_id": ["i1"] * 4, "timestamp": times}).to_parquet(made.interactions)
    assert load_source(made).interactions["user_id"].tolist() == [str(large), "", str(large), "4"]


def read_parts(parts: list[list[object]], first_row: int) -> np.ndarray:
    times = TimeParts()
    for part in parts:
        times.add(pd.Series(part), "column 't'", first_row)
        first_row += len(part)
    return times.microseconds()


@pytest.mark.parametrize("parts", [[[5], [6, 7]], [["2001-09-09"], ["2001-09-10T00:00:00"]], [[10**12], [], [10**11]]])
def test_times_in_parts(parts: list[list[object]]) -> None:
    whole = pd.Series([time for part in parts for time in part])
    assert read_parts(parts, 0).tolist() == read_times(whole, "t").tolist()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([[10**9, 5], [10**12]], r"1000000000 in row 2 \(seconds\) and 1000000000000 in row 4 \(milliseconds\)"),
        ([["2001-09-09"], ["7"]], r"'2001-09-09' in row 2 \(dates\) and '7' in row 3 \(seconds\)"),
        ([["7"], ["soon"]], "'soon' in row 3"),
    ],
)
def test_parts_of_different_kinds_are_refused(parts: list[list[object]], said: str) -> None:
    with pytest.raises(RereError, match=said):
        read_parts(parts, 2)
