"""Reports and records: JSON (or a sealed directory), with their page or table in the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel
from zenml.enums import ArtifactType
from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.artifacts.manifest import seal
from rere.data.profile import Profile
from rere.data.validation_report import ValidationReport


class ValidationReportMaterializer(DirectoryMaterializer):
    """The checks as JSON, and the page that people read."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ValidationReport,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def pictures(self, data: ValidationReport) -> dict[str, str]:
        return {"validation.html": data.html}

    def facts(self, data: ValidationReport) -> dict[str, MetadataType]:
        return {
            "status": data.status,
            "checks": len(data.checks),
            "warnings": [check.name for check in data.having("warning")],
        }


class RecordMaterializer(DirectoryMaterializer):
    """A pydantic record as sealed JSON."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Profile,)

    def write(self, data: BaseModel, directory: Path) -> None:
        (directory / "record.json").write_text(data.model_dump_json(indent=1) + "\n", encoding="utf-8")
        seal(directory)

    def read(self, directory: Path, data_type: type[BaseModel]) -> BaseModel:
        return data_type.model_validate_json((directory / "record.json").read_text(encoding="utf-8"))

    def pictures(self, data: BaseModel) -> dict[str, str]:
        return {"record.json": data.model_dump_json(indent=1)}
