"""What a run begins with, looked at when it runs and not when it is compiled: a schedule must see what is new.

Both steps always run. What they find is in the cache keys of the steps that take it, so unchanged content reruns
nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

from zenml import ArtifactConfig, log_metadata, step

from materializers.base_record import BaseRecordMaterializer
from ops.runtime.base_record import BaseRecord
from rere.config.catalog import IndexConfig
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.config.rl import RLConfig


@step(enable_cache=False)
def sum_up_inputs(
    data: IngestConfig, catalog: IndexConfig, rl: RLConfig
) -> tuple[
    Annotated[str, ArtifactConfig(name="source_sha256")],
    Annotated[str, ArtifactConfig(name="catalog_sha256")],
    Annotated[str, ArtifactConfig(name="backbone_sha256")],
    Annotated[str, ArtifactConfig(name="rl_sha256")],
    Annotated[dict[str, str], ArtifactConfig(name="data_commits")],
    Annotated[dict[str, str], ArtifactConfig(name="model_commits")],
    Annotated[dict[str, str], ArtifactConfig(name="named")],
]:
    """The content of all that the settings name and don't hold (see `ops.runtime.named`), as SHA-256 or commit.

    Returns:
        The source's files, with its settings; what `catalog` names; the backbone alone, which is part of that; what
        `rl` names; the commits of data sets and of models that a hub has under a branch or tag, which all steps of the
        run take; and the single files by name, for the record.
    """
    from ops.runtime.named import hub_commits, named_content, named_sums
    from rere.artifacts.pins import pinned
    from rere.data.sources.base import source_fingerprint

    data_commits = hub_commits(data.source)
    return (
        source_fingerprint(pinned(data.source, data_commits)),
        named_content(catalog),
        named_content(catalog.backbone),
        named_content(rl),
        data_commits,
        hub_commits(catalog, rl),
        named_sums(catalog, rl),
    )


@step(enable_cache=False, experiment_tracker=True, output_materializers=BaseRecordMaterializer)
def look_up_base(
    *,
    model_name: str,
    config: RetrainConfig,
    data: IngestConfig,
    settings: dict[str, Any],
    named: dict[str, str],
    data_commits: dict[str, str],
    model_commits: dict[str, str],
) -> Annotated[BaseRecord, ArtifactConfig(name="base")]:
    """The artifacts that a retraining goes on from (see `base_with`); an empty record without any."""
    from ops.registry.mlflow_registry import require_tracker
    from ops.registry.recipe import recorded
    from ops.retraining.unchanged import base_with

    require_tracker()
    known = recorded(settings, named=named, data=data_commits, models=model_commits)
    found = base_with(model_name, data, config, known)
    if found is None:
        return BaseRecord()
    log_metadata({"version": found.version})
    adds = config.base != "none" and found.collected is not None
    return BaseRecord(
        version=found.version,
        language_model=str(found.language_model.id),
        catalog=str(found.catalog.id),
        collected=str(found.collected.id) if adds and found.collected is not None else None,
    )
