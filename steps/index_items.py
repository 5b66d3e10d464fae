"""Give every item its token sequence, and the trie over them."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.catalog import CatalogIndexMaterializer
from materializers.start import StartMaterializer
from ops.runtime.base_record import BaseRecord
from ops.runtime.cache_keys import cache_policy
from rere.artifacts.pins import pinned
from rere.catalog.index import CatalogIndex, asked_sequences, index_dataset
from rere.catalog.warm_start import StartRecord, continued_or_new
from rere.config.catalog import IndexConfig
from rere.config.retraining import FromBackbone, Start
from rere.data.dataset import FORGOTTEN, Dataset
from rere.data.validation_report import ValidationReport


@step(cache_policy=cache_policy(__name__), output_materializers=CatalogIndexMaterializer)
def index_items(
    dataset: Dataset,
    split_validation: ValidationReport,
    config: IndexConfig,
    catalog_sha256: str,
    model_commits: dict[str, str],
) -> Annotated[CatalogIndex, ArtifactConfig(name="catalog")]:
    """Index the catalogue of a data set whose rows passed their checks.

    `catalog_sha256` is the content of what `config` names (see `ops.runtime.named`): a changed model misses the cache.
    A hub's model is taken, here and by the steps that go on from the catalogue, in the commit that the run began with.
    """
    split_validation.raise_if_failed()
    return index_dataset(dataset, pinned(config, model_commits))


@step(
    name="index_items",
    cache_policy=cache_policy(__name__),
    output_materializers={"catalog": CatalogIndexMaterializer, "start": StartMaterializer},
)
def continue_items(
    *,
    base: BaseRecord,
    dataset: Dataset,
    split_validation: ValidationReport,
    config: IndexConfig,
    catalog_sha256: str,
    model_commits: dict[str, str],
    start_from: Start,
) -> tuple[
    Annotated[CatalogIndex, ArtifactConfig(name="catalog")], Annotated[StartRecord, ArtifactConfig(name="start")]
]:
    """Index the catalogue so that the base's model can go on with it; afresh, and why, where that can't be."""
    split_validation.raise_if_failed()
    config = pinned(config, model_commits)
    if base.catalog is None:
        reason = "there is no champion to go on from"
    elif isinstance(start_from, FromBackbone):
        reason = "the settings ask for it"
    elif forgotten := dataset.report.dropped.get(FORGOTTEN, 0):
        reason = f"the champion learned from {forgotten:,} interactions that are to be forgotten"
    else:
        sequences = asked_sequences(dataset, config)
        return continued_or_new(base.load("catalog"), dataset.items, config, start_from.maximum_new_items, sequences)
    start = StartRecord(type="backbone", reason=reason, known_items=0, new_items=len(dataset.items))
    return index_dataset(dataset, config), start
