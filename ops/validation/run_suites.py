"""Great Expectations Core as a judge: suites of expectations in, checks with named rows out.

It works on Python objects, so a table of many rows comes in parts. Nothing is sampled: what looks at single rows
gets every row, a batch at a time; what counts distinct values gets those; what looks for repetitions gets all rows
that repeat one another (found by `rere.data.codes.repeated`), those of one key together.

Great Expectations takes seconds to import, so that happens inside functions.
"""

from __future__ import annotations

import gc
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rere.data.codes import coded, key_batches, repeated
from rere.data.validation_report import Check, FailingRow

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

# When imported it says two hundred lines about its own decorators, at a level that ZenML shows.
logging.getLogger("great_expectations").setLevel(logging.WARNING)

BATCH_ROWS = 500_000  # rows at a time; a table of no more is judged at once
LONGEST = 80  # characters of a value in a message
OF_DISTINCT = ("ExpectColumnUniqueValueCountToBeBetween", "ExpectColumnDistinctValuesToContainSet")
OF_REPEATED = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")
OF_COLUMNS, OF_COUNT = "ExpectTableColumnsToMatchSet", "ExpectTableRowCountToBeBetween"


@dataclass(frozen=True)
class Suite:
    """A table, the columns that name its rows, and what must hold of it."""

    name: str
    table: pd.DataFrame
    keys: list[str]
    expectations: list[Expectation]


def run_suites(suites: list[Suite], failing_rows: int) -> tuple[list[Check], list[Any]]:
    """Let Great Expectations judge the suites; returns their checks and its own JSON."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # no telemetry from inside a pipeline
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    _quieten()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    checks, raw = [], []
    for suite in suites:
        results: dict[str, list[Any]] = defaultdict(list)
        for number, (part, expectations) in enumerate(_parts(suite)):
            run = _run(context, f"{suite.name} {number}", part, expectations, suite.keys, failing_rows=failing_rows)
            raw.append(run.describe_dict())
            for validation in run.run_results.values():
                for result in validation.results:
                    results[result.expectation_config.meta["name"]].append(result)
        names = dict.fromkeys((expectation.meta or {})["name"] for expectation in suite.expectations)
        checks += [_check(suite, results[name], failing_rows) for name in names]
    return checks, raw


def _quieten() -> None:
    """Some of its modules set their own logger's level when they are imported."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("great_expectations."):
            logging.getLogger(name).setLevel(logging.WARNING)


def _parts(suite: Suite) -> Iterator[tuple[pd.DataFrame, list[Expectation]]]:
    """What Great Expectations is handed, and what it is asked of it; together, as good as the whole table."""
    table = suite.table
    by_rows: list[Expectation] = []
    if len(table) <= BATCH_ROWS:
        yield table, suite.expectations
        return
    for expectation in suite.expectations:
        kind, asked = type(expectation).__name__, expectation.dict()
        if kind == OF_COLUMNS:
            yield table.head(1), [expectation]
        elif kind == OF_COUNT:
            yield pd.DataFrame({"row": np.zeros(len(table), dtype=np.int8)}), [expectation]
        elif kind in OF_DISTINCT:
            yield table.loc[~table[asked["column"]].duplicated()], [expectation]
        elif kind in OF_REPEATED:
            for part in _repeated_rows(table, asked.get("column_list") or [asked["column"]]):
                yield part, [expectation]
        else:
            by_rows.append(expectation)
    for low in range(0, len(table) if by_rows else 0, BATCH_ROWS):
        yield table.iloc[low : low + BATCH_ROWS], by_rows


def _repeated_rows(table: pd.DataFrame, columns: list[str]) -> Iterator[pd.DataFrame]:
    """All rows whose values in the columns occur again, none of them in two parts; any row where there is none."""
    positions = np.flatnonzero(repeated(table, columns))
    if not len(positions):
        yield table.head(1)
        return
    for (rows,) in key_batches(coded(table[columns[0]].iloc[positions])[0], rows=BATCH_ROWS):
        yield table.iloc[positions[np.sort(rows)]]


def _run(
    context: Any, name: str, table: pd.DataFrame, expectations: list[Expectation], keys: list[str], *, failing_rows: int
) -> Any:
    import great_expectations as gx

    asked = [expectation.copy() for expectation in expectations]  # a suite writes its id into what it is given
    batch = context.data_sources.add_pandas(name).add_dataframe_asset("table")
    definition = gx.ValidationDefinition(
        name=name,
        data=batch.add_batch_definition_whole_dataframe("whole"),
        suite=context.suites.add(gx.ExpectationSuite(name=name, expectations=asked)),
    )
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": failing_rows,
            **({"unexpected_index_column_names": ["row", *keys]} if {"row", *keys} <= {*table.columns} else {}),
        },
    )
    # Great Expectations 1.24 doesn't know pandas 3's text type; as objects, it looks at every value.
    text = [
        name
        for name, column in table.items()
        if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column)
    ]
    frame = table.astype(dict.fromkeys(text, object))
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    context.data_sources.delete(name)
    gc.collect()  # Great Expectations leaves cycles that hold the rows
    return run


def _check(suite: Suite, results: list[Any], failing_rows: int) -> Check:
    """One check of the results of one expectation on the parts that it was asked of."""
    for result in results:
        problems = result.exception_info  # one, or one per metric
        problems = [problems] if "raised_exception" in problems else list(problems.values())
        if any(problem["raised_exception"] for problem in problems):
            raise RuntimeError(f"Great Expectations couldn't judge {result.expectation_config}: {problems}")
    passed = all(bool(result.success) for result in results)
    shown = next((result for result in results if not result.success), results[0])
    words, found = shown.expectation_config.meta, shown.result
    failing = sum(int(result.result.get("unexpected_count", 0)) for result in results)
    named = [entry for result in results for entry in result.result.get("partial_unexpected_index_list") or []]
    rows = tuple(
        FailingRow(row=int(entry["row"]), values={key: _shown(entry[key]) for key in suite.keys})
        for entry in sorted(named, key=lambda entry: int(entry["row"]))[:failing_rows]
    )
    if "element_count" in found:
        observed = (
            f"{failing:,} failing {'row' if failing == 1 else 'rows'} of {len(suite.table):,}"
            if failing
            else "no failing row"
        )
    else:
        value = found["observed_value"]
        if "missing_count" in found:  # a set of values that the column should contain
            absent = found["partial_missing_list"]
            value = f"none of {', '.join(map(str, absent))}" if absent else "all of them"
        observed = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return Check(
        name=words["name"],
        table=suite.name,
        severity="error" if shown.expectation_config.severity == "critical" else "warning",
        passed=passed,
        expected=words["expected"],
        observed=observed,
        remedy=words["remedy"],
        failing=failing,
        rows=() if passed else rows,
    )


def _shown(value: object) -> str:
    if value is None or value != value:  # NaN
        return "missing"
    if isinstance(value, str):  # repr: what is invisible or reorders a line must not do so in a message
        return repr(value) if len(value) <= LONGEST else f"{value[:LONGEST]!r}... ({len(value):,} characters)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
