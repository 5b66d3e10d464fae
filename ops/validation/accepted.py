"""What becomes of checks: their page, a stop on an error, and the profile of the last data set that passed them all."""

from __future__ import annotations

from typing import Any

from zenml import save_artifact
from zenml.client import Client
from zenml.enums import SorterOps

from materializers.records import ValidationReportMaterializer
from ops.runtime.reports import write_report
from rere.artifacts.manifest import fingerprint
from rere.data.dataset import Dataset
from rere.data.profile import Profile
from rere.data.validation_report import ValidationReport

PROFILE = "profile"
ACCEPTED = "accepted"  # metadata of a profile: where its data set came from, once all checks had passed
PAGE = 50  # profiles asked for at a time


def accept(report: ValidationReport, name: str) -> None:
    """Write the page to the reports directory; on an error also keep it as an artifact, then raise."""
    write_report(report.html, name)
    if report.status == "failed":
        save_artifact(report, f"{name}_failed", materializer=ValidationReportMaterializer)
    report.raise_if_failed()


def acceptance(dataset: Dataset, location: str) -> dict[str, Any]:
    """The metadata that its profile gets once all checks have passed."""
    return {ACCEPTED: {"location": location, "content": content_of(dataset)}}


def previous_profile(location: str, content: str) -> Profile | None:
    """The profile of the last accepted data set of this location; else of this very content, which was moved here.

    Data that failed a check, also one of the split, leave none.
    """
    moved, number = None, 1
    while True:
        page = Client().list_artifact_versions(
            artifact=PROFILE, sort_by=f"{SorterOps.DESCENDING}:created", page=number, size=PAGE, hydrate=True
        )
        for version in page.items:
            accepted = version.run_metadata.get(ACCEPTED)
            if not isinstance(accepted, dict):
                continue
            if accepted["location"] == location:
                return version.load()
            if accepted["content"] == content and moved is None:
                moved = version
        if number >= page.total_pages:
            return None if moved is None else moved.load()
        number += 1


def content_of(dataset: Dataset) -> str:
    """One sum over the source's files, whatever they are called."""
    return fingerprint({str(n): one for n, one in enumerate(sorted(dataset.report.source_sha256.values()))})
