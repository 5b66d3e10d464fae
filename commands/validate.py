"""`rere validate`: read and check a run's data, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import config_option, pipeline_named, pipeline_option

if TYPE_CHECKING:
    from rere.data.validation_report import ValidationReport


@click.command()
@config_option
@pipeline_option
def command(config: Path, name: str) -> None:
    """Read a run's data, cut it into prediction rows, and check both as the run will.

    Stores nothing but the pages below reports/. Drift is left to the run: only the stack knows the last accepted data.
    Exit status 1 where the run would stop.
    """
    from ops.runtime.reports import write_report
    from ops.validation.expectations import validate_dataset, validate_windows
    from pipelines.checked import settings_of
    from rere.data.ingest import ingest
    from rere.data.profile import make_profile
    from rere.data.windows import make_windows
    from rere.project import in_project

    settings = settings_of(pipeline_named(name), config.resolve())
    with in_project():
        dataset = ingest(settings["data"])
        counts(dataset.report.read, dataset.report.dropped | dataset.report.noticed, dataset.report.kept)
        report = validate_dataset(dataset, settings["checks"], None, make_profile(dataset))
        tell("Data", report, write_report(report.html, "data_validation"))
        windows = make_windows(dataset, settings["windows"])
        report = validate_windows(windows, dataset, settings["checks"])
        tell("Prediction rows", report, write_report(report.html, "split_validation"))


def counts(read: dict[str, int], dropped: dict[str, int], kept: dict[str, int]) -> None:
    """Print what was read, what became of it, and what is left."""
    for title, figures in {"read": read, "dropped or changed": dropped, "kept": kept}.items():
        some = {reason: count for reason, count in figures.items() if count}
        click.echo(f"{title}:" if some else f"{title}: nothing")
        for reason, count in some.items():
            click.echo(f"  {count:>12,}  {reason}")


def tell(subject: str, report: ValidationReport, page: Path) -> None:
    """Print how it went; RereError where the run would stop."""
    click.echo(f"{subject}: {report.status}, {page}")
    for check in report.having("warning"):
        click.echo(f"  {check.name}: {check.observed}; expected {check.expected}")
    report.raise_if_failed()
