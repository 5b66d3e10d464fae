"""The last word: the table, the decision with its reasons, the registered version, and what to do next."""

from __future__ import annotations

import json
import shlex

import pandas as pd
from rich.console import Console
from zenml import step
from zenml.types import HTMLString

from ops.alerts.hooks import tell_outcome
from ops.registry.mlflow_registry import CHALLENGER, CHAMPION
from ops.registry.stages import Promoted
from ops.registry.zenml_registry import link_run
from ops.runtime.reports import write_report
from rere.config.evaluation import EvaluationConfig
from rere.evaluation.better_rival import WARNING

PORT = 5001
RERE = "source .venv/bin/activate && rere"


@step(enable_cache=False, on_success=tell_outcome)
def summarise(metrics: pd.DataFrame, report: HTMLString, promotion: Promoted, evaluation: EvaluationConfig) -> None:
    """Print it and write the report's file, also when all else came from the cache: a run ends with its result."""
    from rere.reporting.terminal import results_table

    link_run(promotion.model, promotion.version)  # with the promotion, which its own step couldn't link
    path, review_path = write_report(report, "report", link="latest"), write_report(promotion.page, "review")
    console = Console(width=120, highlight=False, soft_wrap=True)
    console.print()
    console.print(results_table(metrics, evaluation))
    passed = promotion.verdict.passed
    console.print(f"\nGate: {'passed' if passed else 'did not pass'}", style="bold green" if passed else "bold yellow")
    for check in promotion.verdict.checks:
        console.print(f"  {'✓' if check.passed else '✗'} {check.name}: {check.explanation}", markup=False)
    for note in promotion.notes:
        warns = note.startswith(WARNING)
        console.print(f"  {'! ' if warns else ''}{note}", markup=False, style="yellow" if warns else "")
    console.print(
        f"\nRegistered: {promotion.model} version {promotion.version}, alias {' and '.join(promotion.aliases)}"
    )
    if promotion.waits:
        console.print(f"Not champion: {promotion.waits}", markup=False)
    console.print(f"Report:     {path}\nReview:     {review_path}\n\nNext:", markup=False)
    for purpose, command in next_commands(promotion):
        console.print(f"  {purpose:<8} {command}", markup=False)


def next_commands(promotion: Promoted) -> list[tuple[str, str]]:
    """(purpose, command) pairs that work as they stand, from the project's root.

    Where the gate said no, a promotion overrides it, and says so.
    """
    alias = CHAMPION if CHAMPION in promotion.aliases else CHALLENGER
    model = shlex.quote(promotion.model)
    request = shlex.quote(json.dumps({"history": list(promotion.example), "k": 5}, ensure_ascii=False))
    commands = [
        ("report", "make report"),
        ("serve", f"{RERE} serve --model {model} --alias {alias} --port {PORT}"),
        ("ask", f"curl -s localhost:{PORT}/recommend -H 'Content-Type: application/json' -d {request}"),
        ("versions", f"{RERE} versions --model {model}"),
        ("runs", "make dashboard (ZenML), make mlflow"),
    ]
    if alias == CHALLENGER:
        command = f"{RERE} {{}} {promotion.version} --model {model} --reason WHY"
        if promotion.verdict.passed:
            commands.append(("approve", command.format("approve")))
        else:
            commands.append(("override", command.format("promote") + "   # in spite of the gate; kept on record"))
    return commands
