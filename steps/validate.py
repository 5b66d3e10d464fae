"""Check what was read, then what was cut from it: an error stops the run, a warning goes to the report."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, log_metadata, save_artifact, step
from zenml.client import Client
from zenml.enums import SorterOps

from materializers.records import RecordMaterializer, ValidationReportMaterializer
from ops.runtime.cache_keys import cache_policy
from ops.runtime.reports import write_report
from rere.config.data import ValidationConfig
from rere.data.dataset import Dataset, Windows
from rere.data.profile import Profile, make_profile
from rere.data.validation_report import ValidationReport

PROFILE = "profile"


@step(
    cache_policy=cache_policy(__name__),
    output_materializers={"data_validation": ValidationReportMaterializer, PROFILE: RecordMaterializer},
)
def validate(
    dataset: Dataset, config: ValidationConfig
) -> tuple[
    Annotated[ValidationReport, ArtifactConfig(name="data_validation")],
    Annotated[Profile, ArtifactConfig(name=PROFILE)],
]:
    """Check the data set, and how far it moved from the last accepted one of the same source."""
    from ops.validation.expectations import validate_dataset

    profile = make_profile(dataset)
    source = dataset.report.source
    report = validate_dataset(dataset, config, previous_profile(source), profile)
    accept(report, "data_validation")
    log_metadata(metadata={"source": source}, artifact_name=PROFILE, infer_artifact=True)
    return report, profile


@step(cache_policy=cache_policy(__name__), output_materializers=ValidationReportMaterializer)
def validate_split(
    dataset: Dataset, windows: Windows, config: ValidationConfig
) -> Annotated[ValidationReport, ArtifactConfig(name="split_validation")]:
    """Check the prediction rows: nothing may leak between periods."""
    from ops.validation.expectations import validate_windows

    report = validate_windows(windows, dataset, config)
    accept(report, "split_validation")
    return report


def accept(report: ValidationReport, name: str) -> None:
    """Write the page to the reports directory; on an error also keep it as an artifact, then raise."""
    write_report(report.html, name)
    if report.status == "failed":
        save_artifact(report, f"{name}_failed", materializer=ValidationReportMaterializer)
    report.raise_if_failed()


def previous_profile(source: str) -> Profile | None:
    """The profile of the last accepted data set of this source; a failed validation leaves none."""
    newest_first = f"{SorterOps.DESCENDING}:created"
    for version in Client().list_artifact_versions(artifact=PROFILE, sort_by=newest_first, hydrate=True):
        if version.run_metadata.get("source") == source:
            return version.load()
    return None
