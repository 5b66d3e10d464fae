"""The benchmark of large data: the same data every time, and stages that run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import large_data
from rere.data.dataset import Windows


def test_generated_data_are_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_data, "BLOCK", 700)
    tables = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        counts = large_data.generate(tmp_path / folder, 3_000)
        tables.append([pd.read_parquet(tmp_path / folder / f"{name}.parquet") for name in ("interactions", "items")])
    assert counts == {"interactions": 3_000, "users": 150, "items": 1_000}
    for first, second in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(first, second)
    events, items = tables[0]
    assert len(events) == 3_000
    assert events["timestamp"].is_monotonic_increasing
    assert set(events["item_id"]) <= set(items["item_id"])
    assert items["title"].is_unique


def test_stages_hand_on_what_they_made(tmp_path: Path) -> None:
    large_data.generate(tmp_path, 20_000)
    kept = large_data.ingest(tmp_path)
    assert 15_000 < kept["kept_interactions"] < 20_000
    cut = large_data.split(tmp_path)
    windows = Windows.load(tmp_path / "windows")
    assert len(windows.table) == cut["windows"]
    assert windows.table["history"].map(len).max() == windows.history_items


def test_the_table_has_a_row_a_size() -> None:
    stage = {"seconds": 9.0, "cpu_seconds": 1.25, "peak_mib": 2_000, "own_mib": 1_500}
    record = {"interactions": 10**6, "generate": {"items": 50_000}, **dict.fromkeys(large_data.STAGES, stage)}
    lines = large_data.table([record, record]).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 1,000,000 | 50,000 | 1.2 (2,000, 1,500) |")
