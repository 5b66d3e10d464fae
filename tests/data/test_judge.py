"""Great Expectations on a table in parts says what it says of the whole table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ops.validation import run_suites
from ops.validation.suites import interactions_suite, items_suite, windows_suite
from rere.config.data import SplitConfig, ValidationConfig
from rere.data import codes
from rere.data.codes import category
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import Check
from rere.data.windows import make_windows
from tests.data.helpers import random_dataset

CONFIG = ValidationConfig(minimum_users=40, minimum_items=5, minimum_interactions=20)


def spoiled(coded: bool) -> Dataset:
    """Repeated, unknown, empty, missing, early and unordered rows, among good ones."""
    dataset, random = random_dataset(0), np.random.default_rng(0)
    events = dataset.interactions.copy()
    for column, value in (("item_id", "zzz"), ("item_id", ""), ("user_id", None), ("timestamp", 5), ("period", "dev")):
        events.loc[random.choice(len(events), 9, replace=False), column] = value
    events = pd.concat([events, events.iloc[random.choice(len(events), 12)]], ignore_index=True)
    if coded:
        events = events.assign(**{name: category(events[name]) for name in ("user_id", "item_id", "period")})
    items = pd.concat([dataset.items, dataset.items.iloc[[3, 7, 3]]], ignore_index=True)
    items.loc[5, "title"] = " "
    return dataclasses.replace(dataset, interactions=events, items=items)


def checks(dataset: Dataset, windows: Windows) -> list[Check]:
    suites = [
        interactions_suite(dataset, CONFIG),
        items_suite(dataset, CONFIG),
        windows_suite(windows, dataset, CONFIG),
    ]
    return run_suites.run_suites(suites, CONFIG.failing_rows)[0]


@pytest.mark.parametrize("coded", [False, True], ids=["text", "categories"])
def test_parts_against_the_whole(coded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = spoiled(coded)
    windows = make_windows(dataset, SplitConfig(history_items=3))
    again = windows.table.iloc[[2, 60, 60]]
    windows = dataclasses.replace(windows, table=pd.concat([windows.table, again], ignore_index=True))
    whole = checks(dataset, windows)
    failed = {check.name for check in whole if not check.passed}
    assert {"enough users", "no repeated interaction", "item ids are unique", "row ids are unique"} <= failed
    assert len(failed) > 12
    monkeypatch.setattr(run_suites, "BATCH_ROWS", 61)
    monkeypatch.setattr(codes, "BATCH_ROWS", 40)
    assert checks(dataset, windows) == whole


def test_a_single_bad_row_in_a_late_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_suites, "BATCH_ROWS", 30)
    dataset = random_dataset(0)
    last = len(dataset.interactions) - 1
    dataset.interactions.loc[last, "timestamp"] = 7
    found, raw = run_suites.run_suites([interactions_suite(dataset, CONFIG)], 5)
    late = next(check for check in found if check.name == "times in range")
    assert (late.passed, late.failing, [row.row for row in late.rows]) == (False, 1, [last])
    assert late.observed == f"1 failing row of {last + 1:,}"
    assert len(raw) > last / 30  # every part's own record is kept
