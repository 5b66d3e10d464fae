"""The last pipeline run that was for a registered model: how it went, and how far its data had moved."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from zenml.client import Client

from rere.config.promotion import PromotionConfig
from rere.data.validation_report import DriftRow, ValidationReport

PAGE, PAGES = 20, 5  # runs asked for at a time, and how often: older ones say nothing of today


class LastRun(BaseModel):
    """As ZenML has it at this moment.

    status: ZenML's: running, completed, failed, …
    failed: the steps that failed
    warned: checks of the data that warned
    drift: how far the data had moved from the last accepted ones, empty where there were none; None where the run has
        no data that passed their checks
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    status: str
    started: str
    failed: tuple[str, ...]
    warned: int
    drift: tuple[DriftRow, ...] | None

    @property
    def moved_most(self) -> DriftRow | None:
        """The figure with the largest stability index."""
        judged = [row for row in self.drift or () if row.psi is not None]
        return max(judged, key=lambda row: row.psi or 0.0, default=None)


def last_run_of(name: str) -> LastRun | None:
    """The newest run, of any pipeline that registers a model under this name; None where none is among the newest."""
    for page in range(1, PAGES + 1):
        found = Client().list_pipeline_runs(sort_by="desc:created", page=page, size=PAGE, hydrate=True)
        for run in found.items:
            if _model_of(run) == name:
                return _described(run)
        if page >= found.total_pages:
            break
    return None


def _model_of(run: Any) -> str | None:
    parameters = run.config.parameters or {}
    if "promotion" not in parameters:
        return None
    return str((parameters["promotion"] or {}).get("model_name", PromotionConfig().model_name))


def _described(run: Any) -> LastRun:
    steps = run.steps
    checked = steps["validate"].outputs.get("data_validation", []) if "validate" in steps else []
    report: ValidationReport | None = checked[0].load() if checked else None
    return LastRun(
        name=run.name,
        status=run.status.value,
        started=run.start_time.isoformat(timespec="seconds") if run.start_time else "",
        failed=tuple(step for step, made in steps.items() if made.status.is_failed),
        warned=len(report.having("warning")) if report else 0,
        drift=report.drift if report else None,
    )
