"""Check what was read, then what was cut from it: an error stops the run, a warning goes to the report."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, get_step_context, log_metadata, step

from materializers.records import RecordMaterializer, ValidationReportMaterializer
from ops.runtime.cache_keys import cache_policy
from ops.validation.accepted import PROFILE, accept, acceptance, content_of, previous_profile
from rere.config.data import ValidationConfig
from rere.data.dataset import Dataset, Windows
from rere.data.profile import Profile, make_profile
from rere.data.validation_report import ValidationReport


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
    report = validate_dataset(dataset, config, previous_profile(location, content_of(dataset)), profile)
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
    log_metadata(metadata=acceptance(dataset, location), artifact_version_id=kept.id)
    return report
