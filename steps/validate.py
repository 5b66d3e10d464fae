"""Check what was read, then what was cut from it: an error stops the run, a warning goes to the report."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, get_step_context, log_metadata, save_artifact, step
from zenml.client import Client
from zenml.enums import SorterOps

from materializers.records import RecordMaterializer, ValidationReportMaterializer
from ops.runtime.cache_keys import cache_policy
from ops.runtime.reports import write_report
from rere.artifacts.manifest import fingerprint
from rere.config.data import ValidationConfig
from rere.data.dataset import Dataset, Windows
from rere.data.profile import Profile, make_profile
from rere.data.validation_report import ValidationReport

PROFILE = "profile"
ACCEPTED = "accepted"  # metadata of a profile: where its data set came from, once all checks had passed
PAGE = 50  # profiles asked for at a time


@step(
    cache_policy=cache_policy(__name__),
    output_materializers={"data_validation": ValidationReportMaterializer, PROFILE: RecordMaterializer},
)
def validate(
    dataset: Dataset, config: ValidationConfig, location: str
) -> tuple[
    Annotated[ValidationReport, ArtifactConfig(name="data_validation")],
    Annotated[Profile, ArtifactConfig(name=PROFILE)],
]:
    """Check the data set, and how far it moved from the last accepted one of the same source.

    `location` is where the source is (see `source_location`).
    """
    from ops.validation.expectations import validate_dataset

    profile = make_profile(dataset)
    report = validate_dataset(dataset, config, previous_profile(location, _content(dataset)), profile)
    accept(report, "data_validation")
    return report, profile


@step(cache_policy=cache_policy(__name__), output_materializers=ValidationReportMaterializer)
def validate_split(
    dataset: Dataset, windows: Windows, profile: Profile, config: ValidationConfig, location: str
) -> Annotated[ValidationReport, ArtifactConfig(name="split_validation")]:
    """Check the prediction rows: nothing may leak between periods.

    Only now the data set is accepted: from here on the next one of its source is held against its `profile`.
    """
    from ops.validation.expectations import validate_windows

    report = validate_windows(windows, dataset, config)
    accept(report, "split_validation")
    [kept] = get_step_context().inputs["profile"]
    came = {"location": location, "content": _content(dataset)}
    log_metadata(metadata={ACCEPTED: came}, artifact_version_id=kept.id)
    return report


def accept(report: ValidationReport, name: str) -> None:
    """Write the page to the reports directory; on an error also keep it as an artifact, then raise."""
    write_report(report.html, name)
    if report.status == "failed":
        save_artifact(report, f"{name}_failed", materializer=ValidationReportMaterializer)
    report.raise_if_failed()


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


def _content(dataset: Dataset) -> str:
    """One sum over the source's files, whatever they are called."""
    return fingerprint({str(n): one for n, one in enumerate(sorted(dataset.report.source_sha256.values()))})
