"""The rows that a retraining learns from."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.data.collected import Collected


class CollectedMaterializer(DirectoryMaterializer):
    """Interactions as Arrow, items as Parquet, the report as JSON."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Collected,)

    def pictures(self, data: Collected) -> dict[str, str]:
        return {"report.json": data.report.model_dump_json(indent=1)}

    def facts(self, data: Collected) -> dict[str, MetadataType]:
        return {"base": data.report.base, "new": data.report.new, "newest": data.report.newest}
