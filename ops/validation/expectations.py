"""Validation: a data set and its windows against what must hold of them (`ops.validation.suites`), as a report.

What was dropped, noticed and kept stands beside the checks.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd

from ops.validation.run_suites import run_suites
from ops.validation.suites import (
    INTERACTIONS,
    ITEMS,
    WINDOWS,
    drift_suite,
    interactions_suite,
    items_suite,
    structure,
    windows_suite,
)
from rere.config.data import ValidationConfig
from rere.data.dataset import PERIODS, Dataset, Windows
from rere.data.flags import moment
from rere.data.histories import Histories
from rere.data.profile import Profile, drift
from rere.data.times import iso_seconds
from rere.data.validation_report import Check, DriftRow, ValidationReport, with_page
from rere.data.windows import cut_histories

__all__ = ["ValidationReport", "validate_dataset", "validate_windows"]


def validate_dataset(
    dataset: Dataset, config: ValidationConfig, previous: Profile | None, current: Profile
) -> ValidationReport:
    """Check what ingest made, and how far it moved from the previous accepted data set.

    A table without its columns gets that one check only: nothing else can be asked of it.
    """
    tables = [
        structure("interactions", dataset.interactions, INTERACTIONS),
        structure("items", dataset.items, ITEMS),
    ]
    checks, raw = run_suites(tables, config.failing_rows)
    moved = drift(previous, current) if previous else pd.DataFrame(columns=["metric", "previous", "current", "psi"])
    if all(check.passed for check in checks):
        suites = [interactions_suite(dataset, config), items_suite(dataset, config)]
        if previous:
            suites.append(drift_suite(moved, config))
        more, more_raw = run_suites(suites, config.failing_rows)
        checks, raw = checks + more, raw + more_raw
    if not previous:
        checks.append(
            Check(
                name="drift",
                table="data set",
                severity="warning",
                passed=True,
                expected="a data set like the previous accepted one",
                observed="no earlier one to compare with",
                remedy="",
            )
        )
    report = dataset.report
    if report.times_read:
        checks.append(_times_read(*report.times_read, config))
    facts: dict[str, dict[str, Any]] = {
        "Source": {
            "name": report.source,
            "split": report.split,
            **{k: v[:12] for k, v in report.source_sha256.items()},
        },
        "Kept": dict(report.kept) | {"first": moment(current.first), "last": moment(current.last)},
        "Read": dict(report.read),
        "Dropped": dict(report.dropped) or {"nothing": 0},
        "Noticed": dict(report.noticed),
    }
    figures = tuple(
        DriftRow.model_validate({**row, "psi": None if pd.isna(row["psi"]) else row["psi"]})
        for row in moved.to_dict("records")
    )
    found = ValidationReport(subject="data set", checks=_by_file(checks, dataset), drift=figures)
    return with_page(found, facts, json.dumps(raw, indent=1, default=str))


def _by_file(checks: list[Check], dataset: Dataset) -> tuple[Check, ...]:
    """Their rows as the user's files number them, where it is known which those are."""
    numbered = []
    for check in checks:
        if origin := dataset.origins.get(check.table):
            origins = [origin.of(row.row) for row in check.rows]
            rows = [
                row.model_copy(update={"file": file, "row": number})
                for row, (file, number) in zip(check.rows, origins, strict=True)
            ]
            check = check.model_copy(update={"rows": tuple(rows)})
        numbered.append(check)
    return tuple(numbered)


def _times_read(first: int, last: int, config: ValidationConfig) -> Check:
    """Of rows that a filter dropped, too: one date out of range says that the column isn't what it seems."""
    return Check(
        name="times in range before filtering",
        table="source",
        severity="error",
        passed=iso_seconds(config.earliest, "earliest") <= first and last <= int(time.time()),
        expected=f"times from {config.earliest} until now in every row read, those that filters drop too",
        observed=f"times from {moment(first)} ({first}) to {moment(last)} ({last})",
        remedy="correct those rows in the source, or set `earliest`",
    )


def validate_windows(windows: Windows, dataset: Dataset, config: ValidationConfig) -> ValidationReport:
    """Check the prediction rows against the interactions that they were cut from: nothing may leak."""
    checks, raw = run_suites([structure("windows", windows.table, WINDOWS)], config.failing_rows)
    facts: dict[str, dict[str, Any]] = {}
    if all(check.passed for check in checks):
        more, more_raw = run_suites([windows_suite(windows, dataset, config)], config.failing_rows)
        checks, raw = checks + more, raw + more_raw
        shares = windows.table.groupby("period")["warm"].mean()
        lengths = Histories.of(windows.table["history"]).lengths
        facts = {
            "Rows": {period: int((windows.table["period"] == period).sum()) for period in PERIODS},
            "Targets that occur in training": {str(period): f"{share:.1%}" for period, share in shares.items()},
            "Histories": {
                "items at most": windows.history_items,
                "items on average": f"{lengths.mean():.1f}",
                "cut to the most recent items": cut_histories(dataset, windows),
            },
        }
    found = ValidationReport(subject="windows", checks=_by_file(checks, dataset))
    return with_page(found, facts, json.dumps(raw, indent=1, default=str))
