"""Result tables: Parquet, sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.artifacts.manifest import seal

SAMPLE_ROWS = 50


class TableMaterializer(DirectoryMaterializer):
    """A pandas table with a plain index."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (pd.DataFrame,)

    def write(self, data: pd.DataFrame, directory: Path) -> None:
        data.to_parquet(directory / "table.parquet", index=False)
        seal(directory)

    def read(self, directory: Path, data_type: type[pd.DataFrame]) -> pd.DataFrame:
        return pd.read_parquet(directory / "table.parquet")

    def pictures(self, data: pd.DataFrame) -> dict[str, str]:
        return {"sample.csv": data.head(SAMPLE_ROWS).to_csv(index=False)}

    def facts(self, data: pd.DataFrame) -> dict[str, MetadataType]:
        return {"rows": len(data), "columns": [str(column) for column in data.columns]}
