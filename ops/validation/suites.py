"""What must hold of a data set and of the windows cut from it, as Great Expectations suites.

An expectation carries the check's words in its `meta`; facts that need several rows or tables come as boolean
columns from `rere.data.flags`. Great Expectations takes seconds to import, so that happens inside functions.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from ops.validation.run_suites import Suite
from rere.config.data import ValidationConfig
from rere.data.dataset import PERIODS, Dataset, Windows
from rere.data.flags import flag_interactions, flag_items, flag_windows
from rere.data.times import iso_seconds
from rere.data.titles import ID_CHARACTERS
from rere.data.validation_report import Severity

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

INTERACTIONS = ["user_id", "item_id", "timestamp", "period"]
ITEMS = ["item_id", "title"]
WINDOWS = ["row_id", "user_id", "history", "target", "timestamp", "period", "warm"]
EVENT_KEYS = ["user_id", "item_id", "timestamp"]
WINDOW_KEYS = ["user_id", "target", "timestamp"]


def structure(name: str, table: pd.DataFrame, columns: list[str]) -> Suite:
    """The table has its columns."""
    from great_expectations import expectations as gxe

    said = _meta("schema", f"the columns {', '.join(columns)}", "make the table by `ingest` and `make_windows`")
    return Suite(name, table, [], [gxe.ExpectTableColumnsToMatchSet(column_set=columns, exact_match=False, **said)])


def interactions_suite(dataset: Dataset, config: ValidationConfig) -> Suite:
    """Types, values, order, periods and catalogue membership of the interactions."""
    from great_expectations import expectations as gxe

    source, more = "correct those rows in the source", "give more data, or lower `k_core` or the minimum"
    earliest = iso_seconds(config.earliest, "earliest")
    expectations = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=config.minimum_interactions,
            **_meta("enough interactions", f"at least {config.minimum_interactions} interactions", more),
        ),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="user_id",
            min_value=config.minimum_users,
            **_meta("enough users", f"at least {config.minimum_users} users", more),
        ),
        *_text("user_id"),
        _plain("user"),
        *_text("item_id"),
        gxe.ExpectColumnValuesToBeOfType(
            column="timestamp", type_="int64", **_meta("type of timestamp", "whole seconds (int64)", source)
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="timestamp",
            min_value=earliest,
            max_value=int(time.time()),
            **_meta("times in range", f"times from {config.earliest} until now", f"{source}, or set `earliest`"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="period", value_set=list(PERIODS), **_meta("known periods", " or ".join(PERIODS), "ingest again")
        ),
        _true(
            "in_catalogue",
            "items are in the catalogue",
            "only items that the catalogue lists",
            f"{source}: add the items to the items file, or remove their interactions",
        ),
        _true("in_time_order", "times in order", "each user's rows together, in order of time", "ingest again"),
        _true(
            "in_period_order",
            "periods in order",
            "no user's row in an earlier period than the row before it",
            "ingest again; for window files, mend their split",
        ),
    ]
    if dataset.windows is None:  # window files are taken as they are: a user can take an item twice at one time
        repeated = _meta("no repeated interaction", "one row per user, item and time", "remove the repetitions")
        expectations.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=EVENT_KEYS, **repeated))
    if dataset.report.split == "chronological":
        expectations.append(
            _true(
                "after_earlier_periods",
                "periods follow each other",
                "no row before the last one of an earlier period",
                "ingest again",
            )
        )
    return Suite("interactions", flag_interactions(dataset), EVENT_KEYS, expectations)


def items_suite(dataset: Dataset, config: ValidationConfig) -> Suite:
    """Ids and titles of the catalogue."""
    from great_expectations import expectations as gxe

    expectations = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=config.minimum_items,
            **_meta("enough items", f"at least {config.minimum_items} items", "give more data, or lower the minimum"),
        ),
        *_text("item_id"),
        _plain("item"),
        gxe.ExpectColumnValuesToBeUnique(
            column="item_id",
            **_meta("item ids are unique", "one row per item", "keep one title per item in the items file"),
        ),
        gxe.ExpectColumnValuesToBeOfType(
            column="title", type_="str", **_meta("type of title", "text", "correct the items file's titles")
        ),
        _true(
            "has_title",
            "titles aren't blank",
            "a title for every item",
            "give those items a title, or remove them and their interactions",
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="title",
            **_meta(
                "titles are unique",
                "one item per title",
                "nothing needs doing: the index tells such items apart by a suffix; better titles would help the model",
                "warning",
            ),
        ),
    ]
    return Suite("items", flag_items(dataset), ITEMS, expectations)


def drift_suite(moved: pd.DataFrame, config: ValidationConfig) -> Suite:
    """Rows of `rere.data.profile.drift`; plain counts (NaN) aren't judged."""
    from great_expectations import expectations as gxe

    said = _meta(
        "drift",
        f"a stability index of at most {config.drift_warning} against the previous accepted data set",
        "look at what changed in the source; old metrics may not carry over",
        "warning",
    )
    expectation = gxe.ExpectColumnValuesToBeBetween(column="psi", max_value=config.drift_warning, **said)
    return Suite(
        "data set", moved.assign(row=range(len(moved))), ["metric", "previous", "current", "psi"], [expectation]
    )


def windows_suite(windows: Windows, dataset: Dataset, config: ValidationConfig) -> Suite:
    """The prediction rows: whole, known, and without leaks."""
    from great_expectations import expectations as gxe

    flagged = flag_windows(windows, dataset)
    again = "cut the windows again"
    remedy, gaps = again, again
    severity: Severity = "error"
    repetitions: Severity = "error" if dataset.windows is None else "warning"
    if dataset.windows is not None:  # a source's own windows can be a sample of a user's rows
        severity = "error" if (~flagged["history_precedes"]).mean() > config.maximum_gaps else "warning"
        remedy = "mend the split of the window files"
        gaps = (
            "give the files a timestamp column, or each user's rows in their true order and with whole histories; "
            "where they are a sample on purpose, raise `checks.maximum_gaps`"
        )
    expectations = [
        gxe.ExpectColumnDistinctValuesToContainSet(
            column="period",
            value_set=list(PERIODS),
            **_meta("rows in every period", "training, validation and test rows", "give more data, or another split"),
        ),
        gxe.ExpectColumnValuesToBeUnique(column="row_id", **_meta("row ids are unique", "one row per row id", again)),
        gxe.ExpectColumnValuesToBeBetween(
            column="history_length",
            min_value=1,
            max_value=windows.history_items,
            **_meta("history lengths", f"1 to {windows.history_items} items in a history", again),
        ),
        _true("target_in_catalogue", "targets are in the catalogue", "only items that the catalogue lists", remedy),
        _true("history_in_catalogue", "histories are in the catalogue", "only items that the catalogue lists", remedy),
        _true("target_happened", "targets keep their period", "the period of the target's interaction", remedy),
        _true(
            "target_unseen",
            "no target leaks into training",
            "no validation or test target as a training target",
            remedy,
        ),
        _true(
            "trains_on_training",
            "no history leaks into training",
            "training histories of training interactions only",
            remedy,
        ),
        _true(
            "history_precedes",
            "histories come before targets",
            "the user's interactions just before the target"
            + (f" in all but {config.maximum_gaps:.0%} of the rows" if dataset.windows is not None else ""),
            gaps,
            severity,
        ),
        _true("warm_is_right", "warm targets are marked", "`warm` where the target occurs in training", again),
        _true("told_once", "each target once", "one row per target interaction", remedy, repetitions),
    ]
    return Suite("windows", flagged, WINDOW_KEYS, expectations)


def _meta(name: str, expected: str, remedy: str, severity: Severity = "error") -> dict[str, Any]:
    """What every expectation is given: its words, and the library's own name of its severity."""
    words = {"name": name, "expected": expected, "remedy": remedy}
    return {"meta": words, "severity": "critical" if severity == "error" else "warning"}


def _true(column: str, name: str, expected: str, remedy: str, severity: Severity = "error") -> Expectation:
    from great_expectations import expectations as gxe

    said = _meta(name, expected, remedy, severity)
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True], **said)


def _plain(whose: str) -> Expectation:
    return _true(
        f"plain_{whose}",
        f"{whose} ids hide nothing",
        f"ids of at most {ID_CHARACTERS} characters, none of them a control, bidirectional or invisible one",
        f"give those {whose}s plain ids in the source",
    )


def _text(column: str) -> list[Expectation]:
    """Text in every row, none of it empty."""
    from great_expectations import expectations as gxe

    said = f"correct those rows in the source's {column} column"
    return [
        gxe.ExpectColumnValuesToBeOfType(column=column, type_="str", **_meta(f"type of {column}", "text", said)),
        gxe.ExpectColumnValuesToNotBeNull(
            column=column, **_meta(f"{column} isn't missing", f"text in {column} in every row", said)
        ),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column=column, min_value=1, **_meta(f"{column} isn't empty", f"text in {column} in every row", said)
        ),
    ]
