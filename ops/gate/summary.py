"""A run's result in the terminal: its table, the gate's decision with its reasons, and what to do next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
from rich.console import Console

from ops.registry.mlflow_registry import CHALLENGER, CHAMPION
from ops.registry.stages import Promoted
from rere.config.evaluation import EvaluationConfig
from rere.evaluation.better_rival import WARNING
from rere.reporting.terminal import results_table

PORT = 5001
RERE = "source .venv/bin/activate && rere"


def print_summary(
    metrics: pd.DataFrame, promotion: Promoted, evaluation: EvaluationConfig, *, report: Path, review: Path
) -> None:
    """Print it; `report` and `review` are the pages' files."""
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
    console.print(f"Report:     {report}\nReview:     {review}\n\nNext:", markup=False)
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
