"""The data set and its windows."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.data.dataset import PERIODS, Dataset, Windows

SAMPLE_ROWS = 20
ROWS = "collected"  # metadata of a retraining's data set: the artifact version that holds its rows as read


class DatasetMaterializer(DirectoryMaterializer):
    """Interactions and items as Parquet, the ingest report as JSON."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Dataset,)

    def pictures(self, data: Dataset) -> dict[str, str]:
        return {
            "report.json": data.report.model_dump_json(indent=1),
            "interactions_sample.csv": data.interactions.head(SAMPLE_ROWS).to_csv(index=False),
            "items_sample.csv": data.items.head(SAMPLE_ROWS).to_csv(index=False),
        }

    def facts(self, data: Dataset) -> dict[str, MetadataType]:
        report = data.report
        return {
            "source": report.source,
            "source_sha256": dict(report.source_sha256),
            "read": dict(report.read),
            "dropped": dict(report.dropped),
            "kept": dict(report.kept),
        }


class WindowsMaterializer(DirectoryMaterializer):
    """The prediction rows as Parquet."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Windows,)

    def pictures(self, data: Windows) -> dict[str, str]:
        return {"windows_sample.csv": data.table.head(SAMPLE_ROWS).to_csv(index=False)}

    def facts(self, data: Windows) -> dict[str, MetadataType]:
        counts = data.table["period"].value_counts()
        warm = data.table.groupby("period")["warm"].mean()
        return {
            "rows": {period: int(counts.get(period, 0)) for period in PERIODS},
            "warm_share": {period: round(float(warm.get(period, 0.0)), 4) for period in PERIODS},
            "history_items": data.history_items,
            "fingerprint": data.fingerprint,
        }
