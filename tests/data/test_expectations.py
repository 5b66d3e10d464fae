"""Validation by Great Expectations: what passes, what fails with which rows, and the page."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ops.validation.expectations import validate_dataset, validate_windows
from rere.config.data import SplitConfig, ValidationConfig
from rere.data.dataset import Dataset, Windows
from rere.data.profile import make_profile
from rere.data.validation_report import ValidationReport
from rere.data.windows import make_windows
from rere.errors import RereError
from tests.data.helpers import START, random_dataset

SMALL = ValidationConfig(minimum_users=5, minimum_items=5, minimum_interactions=20)


def judge(dataset: Dataset, config: ValidationConfig = SMALL) -> ValidationReport:
    return validate_dataset(dataset, config, None, make_profile(random_dataset(0)))


def events_with(row: int, **values: Any) -> Dataset:
    dataset = random_dataset(0)
    events = dataset.interactions.copy()
    for column, value in values.items():
        events.loc[row, column] = value
    return dataclasses.replace(dataset, interactions=events)


def items_with(row: int, **values: str) -> Dataset:
    dataset = random_dataset(0)
    items = dataset.items.copy()
    for column, value in values.items():
        items.loc[row, column] = value
    return dataclasses.replace(dataset, items=items)


def test_a_good_data_set_passes() -> None:
    report = judge(random_dataset(0))
    assert report.status == "passed"
    report.raise_if_failed()


@pytest.mark.parametrize(
    ("dataset", "check", "row"),
    [
        (events_with(4, item_id="zzz"), "items are in the catalogue", "row 4 .*item_id='zzz'"),
        (events_with(4, item_id=""), "item_id isn't empty", "row 4 "),
        (events_with(4, user_id=None), "user_id isn't missing", "row 4 .*user_id=missing"),
        (events_with(4, timestamp=5), "times in range", "row 4 .*timestamp=5"),
        (events_with(4, timestamp=int(time.time()) + 10**6), "times in range", "row 4 "),
        (events_with(4, period="dev"), "known periods", "row 4 "),
        (events_with(2, timestamp=START + 99), "times in order", "row 3 "),
        (items_with(3, title=" "), "titles aren't blank", "row 3 .*item_id='i3'"),
        (items_with(3, item_id="i2"), "item ids are unique", "row 2 .*row 3 "),
    ],
)
def test_errors_name_check_and_row(dataset: Dataset, check: str, row: str) -> None:
    report = judge(dataset)
    assert check in [found.name for found in report.having("failed")]
    with pytest.raises(RereError, match=f"{check}: .*{row}"):
        report.raise_if_failed()
    assert check.replace("'", "&#39;") in report.html


def test_repeated_interactions() -> None:
    dataset = random_dataset(0)
    events = pd.concat([dataset.interactions.iloc[[0]], dataset.interactions], ignore_index=True)
    report = judge(dataclasses.replace(dataset, interactions=events))
    found = next(check for check in report.checks if check.name == "no repeated interaction")
    assert (found.passed, found.failing, [row.row for row in found.rows]) == (False, 2, [0, 1])


def test_wrong_types_and_missing_columns() -> None:
    dataset = random_dataset(0)
    events = dataset.interactions
    late = judge(dataclasses.replace(dataset, interactions=events.assign(timestamp=events["timestamp"].astype(float))))
    assert [check.name for check in late.having("failed")] == ["type of timestamp"]
    bare = judge(dataclasses.replace(dataset, items=dataset.items.drop(columns="title")))
    assert [(check.name, check.table) for check in bare.having("failed")] == [("schema", "items")]


def test_minimum_sizes() -> None:
    report = judge(random_dataset(0), ValidationConfig(minimum_users=31, minimum_items=13, minimum_interactions=10**6))
    assert [check.name for check in report.having("failed")] == ["enough interactions", "enough users", "enough items"]
    with pytest.raises(RereError, match=r"at least 31 users.*enough users: 30"):
        report.raise_if_failed()


def test_shared_titles_only_warn() -> None:
    report = judge(items_with(3, title="Title 2"))
    assert (report.status, [check.name for check in report.having("warning")]) == ("warning", ["titles are unique"])
    report.raise_if_failed()


def test_drift_only_warns() -> None:
    dataset = random_dataset(0)
    earlier = make_profile(random_dataset(0, users=200, items=12))
    fewer = dataset.interactions.groupby("user_id").head(1).reset_index(drop=True)
    moved = dataclasses.replace(dataset, interactions=fewer)
    report = validate_dataset(moved, SMALL, earlier, make_profile(moved))
    drift = next(check for check in report.having("warning") if check.name == "drift")
    assert "user activity (mean)" in str(drift.rows)
    assert any(
        moved.metric == "user activity (mean)" and (moved.psi or 0) > SMALL.drift_warning for moved in report.drift
    )
    assert "Drift since the last accepted data set" in report.html
    report.raise_if_failed()


def test_many_failing_rows_are_counted_and_few_named() -> None:
    dataset = random_dataset(0)
    report = judge(dataclasses.replace(dataset, interactions=dataset.interactions.assign(timestamp=1)))
    check = next(check for check in report.checks if check.name == "times in range")
    assert (check.failing, len(check.rows)) == (len(dataset.interactions), SMALL.failing_rows)
    with pytest.raises(RereError, match=f"and {check.failing - 5} more"):
        report.raise_if_failed()


# ---------------------------------------------------------------- windows


def cut() -> tuple[Dataset, Windows]:
    dataset = random_dataset(0)
    return dataset, make_windows(dataset, SplitConfig(history_items=3))


def test_good_windows_pass() -> None:
    dataset, windows = cut()
    assert validate_windows(windows, dataset, SMALL).status == "passed"


def test_leaks_are_errors() -> None:
    dataset, windows = cut()
    table = windows.table.copy()
    row = int(table.index[table["period"] == "test"][0])
    table.loc[row, "period"] = "train"
    report = validate_windows(dataclasses.replace(windows, table=table), dataset, SMALL)
    names = [check.name for check in report.having("failed")]
    assert "targets keep their period" in names
    assert "no history leaks into training" in names
    with pytest.raises(RereError, match=f"row {row} "):
        report.raise_if_failed()


def own_windows() -> Dataset:
    """Rows that a source brought, as `windows` of the same interactions."""
    dataset = random_dataset(0)
    table = make_windows(dataset, SplitConfig(history_items=3)).table
    return dataclasses.replace(
        dataset, windows=table.assign(history=pd.Series(table["history"].tolist(), dtype=object))
    )


@pytest.mark.parametrize(("spoiled", "status"), [(0, "passed"), (8, "warning"), (20, "failed")])
def test_gaps_of_window_files_refuse_above_a_share(spoiled: int, status: str) -> None:
    dataset = own_windows()
    table = dataset.windows
    assert table is not None
    assert 80 < len(table) < 190  # 8 rows are under a tenth, 20 above
    histories = table["history"].tolist()
    for row in range(spoiled):
        histories[row] = ["i0", *histories[row], "i1"]
    table["history"] = pd.Series(histories, index=table.index, dtype=object)
    report = validate_windows(make_windows(dataset, SplitConfig(history_items=9)), dataset, SMALL)
    assert report.status == status
    found = next(check for check in report.checks if check.name == "histories come before targets")
    assert (found.status, found.failing) == (status, spoiled)
    if status == "failed":
        with pytest.raises(RereError, match=r"all but 10% of the rows.*raise `checks.maximum_gaps`"):
            report.raise_if_failed()
        sample = SMALL.model_copy(update={"maximum_gaps": 1.0})
        assert (
            validate_windows(make_windows(dataset, SplitConfig(history_items=9)), dataset, sample).status == "warning"
        )


def test_a_period_without_rows() -> None:
    dataset, windows = cut()
    table = windows.table[windows.table["period"] != "test"]
    report = validate_windows(dataclasses.replace(windows, table=table), dataset, SMALL)
    with pytest.raises(RereError, match="rows in every period: none of test"):
        report.raise_if_failed()


# ---------------------------------------------------------------- the page


def test_the_page_stands_alone_and_escapes(tmp_path: Path) -> None:
    report = judge(items_with(3, title="Title 2", item_id="<script>alert(1)</script>"))
    assert not re.search(r"(src|href)=|https?://|@import|url\(", report.html)
    assert "<script" not in report.html
    assert "prefers-color-scheme: dark" in report.html
    assert "expect_column_values_to_be_unique" in report.html  # the validator's own JSON, folded
    report.save(tmp_path)
    assert ValidationReport.load(tmp_path) == report
    assert "html" not in json.loads((tmp_path / "report.json").read_text())
