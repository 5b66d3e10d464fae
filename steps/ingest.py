"""Read a source into interactions and a catalogue, filtered on its training period."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, log_metadata, step

from materializers.dataset import DatasetMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.artifacts.pins import pinned
from rere.config.ingest import IngestConfig
from rere.data.dataset import Dataset


@step(cache_policy=cache_policy(__name__), output_materializers=DatasetMaterializer)
def ingest(
    config: IngestConfig, source_sha256: str, data_commits: dict[str, str]
) -> Annotated[Dataset, ArtifactConfig(name="dataset")]:
    """Ingest. `source_sha256` is the sources' content: it makes changed files miss the cache."""
    from rere.data.ingest import ingest as ingest_source

    dataset = ingest_source(pinned(config, data_commits))
    print("\n".join(dataset.report.lines()))
    log_metadata({"source_sha256": source_sha256, "dropped": dict(dataset.report.dropped)})
    return dataset
