"""Give every item its token sequence, and the trie over them."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.catalog import CatalogIndexMaterializer
from rere.catalog.index import CatalogIndex, build_index
from rere.config import IndexConfig
from rere.data.dataset import Dataset
from rere.data.validation_report import ValidationReport
from steps.code import cache_policy


@step(cache_policy=cache_policy(__name__), output_materializers=CatalogIndexMaterializer)
def index_items(
    dataset: Dataset, validation: ValidationReport, config: IndexConfig
) -> Annotated[CatalogIndex, ArtifactConfig(name="catalog")]:
    """Index the catalogue of a data set whose rows passed their checks."""
    validation.raise_if_failed()
    return build_index(dataset.items, config)
