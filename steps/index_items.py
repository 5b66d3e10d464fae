"""Give every item its token sequence, and the trie over them."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.catalog import CatalogIndexMaterializer
from materializers.start import StartMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex, asked_sequences, index_dataset
from rere.catalog.warm_start import StartRecord, continued_or_new
from rere.config.catalog import IndexConfig
from rere.config.retraining import FromChampion
from rere.data.dataset import FORGOTTEN, Dataset
from rere.data.validation_report import ValidationReport


@step(cache_policy=cache_policy(__name__), output_materializers=CatalogIndexMaterializer)
def index_items(
    dataset: Dataset, split_validation: ValidationReport, config: IndexConfig, named_sha256: str
) -> Annotated[CatalogIndex, ArtifactConfig(name="catalog")]:
    """Index the catalogue of a data set whose rows passed their checks.

    `named_sha256` is the content of what `config` names (see `ops.runtime.named`): a changed model misses the cache.
    """
    split_validation.raise_if_failed()
    return index_dataset(dataset, config)


@step(
    name="index_items",
    cache_policy=cache_policy(__name__),
    output_materializers={"catalog": CatalogIndexMaterializer, "start": StartMaterializer},
)
def continue_items(
    *,
    dataset: Dataset,
    split_validation: ValidationReport,
    champion_catalog: CatalogIndex,
    config: IndexConfig,
    named_sha256: str,
    warm_start: FromChampion,
) -> tuple[
    Annotated[CatalogIndex, ArtifactConfig(name="catalog")], Annotated[StartRecord, ArtifactConfig(name="start")]
]:
    """Index the catalogue so that the champion can go on with it; afresh, and why, where that can't be."""
    split_validation.raise_if_failed()
    if forgotten := dataset.report.dropped.get(FORGOTTEN, 0):
        reason = f"the champion learned from {forgotten:,} interactions that are to be forgotten"
        counts = {"known_items": 0, "new_items": len(dataset.items)}
        return index_dataset(dataset, config), StartRecord(type="backbone", reason=reason, **counts)
    sequences = asked_sequences(dataset, config)
    return continued_or_new(champion_catalog, dataset.items, config, warm_start.maximum_new_items, sequences)
