"""The outcome of validation: checks with their failing rows, and a page that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict

from rere.artifacts.manifest import seal, verify
from rere.errors import RereError

Severity = Literal["error", "warning"]
Status = Literal["passed", "warning", "failed"]


class FailingRow(BaseModel):
    """A row by its number and its key values.

    row: as `file` numbers its rows (the line of text); without a file, in the checked table, from 0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: int
    values: dict[str, str]
    file: str = ""

    def __str__(self) -> str:
        where = f"row {self.row} of {Path(self.file).name}" if self.file else f"row {self.row}"
        return f"{where} ({', '.join(f'{name}={value}' for name, value in self.values.items())})"


class Check(BaseModel):
    """One check: `failing` counts all failing rows, `rows` names the first few."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    table: str
    severity: Severity
    passed: bool
    expected: str
    observed: str
    remedy: str
    failing: int = 0
    rows: tuple[FailingRow, ...] = ()

    @property
    def status(self) -> Status:
        return "passed" if self.passed else "failed" if self.severity == "error" else "warning"


class DriftRow(BaseModel):
    """A figure of the last accepted data set and of this one; `psi` (stability index) is None for plain counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    previous: float
    current: float
    psi: float | None


class ValidationReport(BaseModel):
    """All checks of one subject ("data set", "windows"), and the same as a self-contained HTML page.

    `drift`: rows of `rere.data.profile.drift`; none where there is nothing to compare with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    checks: tuple[Check, ...]
    drift: tuple[DriftRow, ...] = ()
    html: str = ""

    @property
    def status(self) -> Status:
        found = {check.status for check in self.checks}
        return "failed" if "failed" in found else "warning" if "warning" in found else "passed"

    def having(self, status: Status) -> list[Check]:
        return [check for check in self.checks if check.status == status]

    def raise_if_failed(self) -> None:
        """RereError naming each failed check, its first failing rows, and the remedy."""
        failed = self.having("failed")
        if not failed:
            return
        raise RereError(
            "; ".join(f"{check.expected} [{check.table}: {check.name}]" for check in failed),
            "; ".join(map(_found, failed)),
            "; ".join(dict.fromkeys(check.remedy for check in failed)),
        )

    def save(self, directory: Path) -> None:
        """Write report.json and report.html and seal them."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.json").write_text(self.model_dump_json(indent=1, exclude={"html"}), encoding="utf-8")
        (directory / "report.html").write_text(self.html, encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> ValidationReport:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        report = cls.model_validate_json((directory / "report.json").read_text(encoding="utf-8"))
        return report.model_copy(update={"html": (directory / "report.html").read_text(encoding="utf-8")})


def _found(check: Check) -> str:
    more = f" and {check.failing - len(check.rows)} more" if check.rows and check.failing > len(check.rows) else ""
    return f"{check.name}: {check.observed}{': ' if check.rows else ''}{', '.join(map(str, check.rows))}{more}"


def with_page(report: ValidationReport, facts: dict[str, dict[str, Any]], raw: str) -> ValidationReport:
    """The report with its page.

    Args:
        facts: heading -> name -> value, shown beside the checks.
        raw: the validator's own JSON, shown folded.
    """
    environment = Environment(
        loader=PackageLoader("rere.data"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("validation.html.j2").render(report=report, facts=facts, raw=raw)
    return report.model_copy(update={"html": page})
