"""Great Expectations Core as a judge: suites of expectations in, checks with named rows out.

Great Expectations takes seconds to import, so that happens inside functions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from rere.data.validation_report import Check, FailingRow

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation


@dataclass(frozen=True)
class Suite:
    """A table, the columns that name its rows, and what must hold of it."""

    name: str
    table: pd.DataFrame
    keys: list[str]
    expectations: list[Expectation]


def judge(suites: list[Suite], failing_rows: int) -> tuple[list[Check], list[Any]]:
    """Let Great Expectations judge the suites; returns their checks and its own JSON."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # no telemetry from inside a pipeline
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    checks, raw = [], []
    for suite in suites:
        batch = context.data_sources.add_pandas(suite.name).add_dataframe_asset("table")
        definition = gx.ValidationDefinition(
            name=suite.name,
            data=batch.add_batch_definition_whole_dataframe("whole"),
            suite=context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=suite.expectations)),
        )
        # Great Expectations 1.24 doesn't know pandas 3's text type; as objects, it looks at every value.
        text = [name for name, column in suite.table.items() if pd.api.types.is_string_dtype(column)]
        frame = suite.table.astype(dict.fromkeys(text, object))
        outcome = gx.Checkpoint(
            name=suite.name,
            validation_definitions=[context.validation_definitions.add(definition)],
            result_format={
                "result_format": "SUMMARY",
                "partial_unexpected_count": failing_rows,
                **({"unexpected_index_column_names": ["row", *suite.keys]} if suite.keys else {}),
            },
        )
        run = context.checkpoints.add(outcome).run(batch_parameters={"dataframe": frame})
        raw.append(run.describe_dict())
        results: list[Any] = [result for validation in run.run_results.values() for result in validation.results]
        order = {(expectation.meta or {})["name"]: place for place, expectation in enumerate(suite.expectations)}
        results.sort(key=lambda result: order[result.expectation_config.meta["name"]])
        checks += [_check(suite, result, failing_rows) for result in results]
    return checks, raw


def _check(suite: Suite, result: Any, failing_rows: int) -> Check:
    problems = result.exception_info  # one, or one a metric
    problems = [problems] if "raised_exception" in problems else list(problems.values())
    if any(problem["raised_exception"] for problem in problems):
        raise RuntimeError(f"Great Expectations couldn't judge {result.expectation_config}: {result.exception_info}")
    words, found = result.expectation_config.meta, result.result
    failing = int(found.get("unexpected_count", 0))
    named = found.get("partial_unexpected_index_list") or []
    rows = tuple(
        FailingRow(row=int(place["row"]), values={key: _shown(place[key]) for key in suite.keys})
        for place in named[:failing_rows]
    )
    if "element_count" in found:
        observed = (
            f"{failing:,} failing {'row' if failing == 1 else 'rows'} of {found['element_count']:,}"
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
        severity="error" if result.expectation_config.severity == "critical" else "warning",
        passed=bool(result.success),
        expected=words["expected"],
        observed=observed,
        remedy=words["remedy"],
        failing=failing,
        rows=() if result.success else rows,
    )


def _shown(value: object) -> str:
    if value is None or value != value:  # NaN
        return "missing"
    return repr(value) if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)
