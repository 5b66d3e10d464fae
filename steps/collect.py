"""Incremental ingest: the champion's rows and what the source has gained since, then the data set of both.

The rows are kept as read, before any filter: an item that was too rare yesterday may not be today.
"""

from __future__ import annotations

from typing import Annotated, Literal

from zenml import ArtifactConfig, get_step_context, log_metadata, step

from materializers.collected import CollectedMaterializer
from materializers.dataset import ROWS, DatasetMaterializer
from ops.runtime.base_record import BaseRecord
from ops.runtime.cache_keys import cache_policy
from rere.artifacts.pins import pinned
from rere.config.ingest import IngestConfig
from rere.data.collected import Collected
from rere.data.dataset import Dataset


@step(cache_policy=cache_policy(__name__), output_materializers=CollectedMaterializer)
def collect(
    *,
    base: BaseRecord,
    config: IngestConfig,
    source_sha256: str,
    data_commits: dict[str, str],
    deleted: Literal["keep", "forget"],
) -> Annotated[Collected, ArtifactConfig(name="collected")]:
    """The base's rows and what the source has gained since; all of the source where the base has none."""
    from rere.data.collected import collect as collect_rows
    from rere.data.sources.base import load_source

    return collect_rows(load_source(pinned(config.source, data_commits)), base.load("collected"), deleted)


@step(name="ingest", cache_policy=cache_policy(__name__), output_materializers=DatasetMaterializer)
def ingest_collected(collected: Collected, config: IngestConfig) -> Annotated[Dataset, ArtifactConfig(name="dataset")]:
    """Ingest collected rows. The data set says which they were, so that the next retraining finds them."""
    from rere.data.ingest import ingest_raw

    dataset = ingest_raw(collected.raw(), config)
    print("\n".join(dataset.report.lines()))
    [artifact] = get_step_context().inputs["collected"]
    log_metadata(metadata={ROWS: str(artifact.id)}, artifact_name="dataset", infer_artifact=True)
    log_metadata({"dropped": dict(dataset.report.dropped), "new_interactions": collected.report.new})
    return dataset
