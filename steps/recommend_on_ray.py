"""Recommendations for users in Parquet files, on a Ray cluster, by the model that an alias names."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from zenml import ArtifactConfig, log_metadata, step
from zenml.logger import get_logger

from rere.serving.config import BatchConfig

logger = get_logger(__name__)


@step(enable_cache=False, experiment_tracker=True)  # the alias may have moved
def recommend_on_ray(config: BatchConfig) -> Annotated[dict[str, Any], ArtifactConfig(name="batch_counts")]:
    """One row per user in `output`; what is returned was counted: see `Counts`."""
    from dataclasses import asdict

    from ops.registry.alias import AliasSource
    from ops.registry.edits import batch_edits, edited_deployment
    from ops.registry.mlflow_registry import require_tracker
    from rere.serving import batch_ray

    require_tracker()
    edits = batch_edits(config)
    version = AliasSource(config.model_name, config.alias).require()
    load = partial(edited_deployment, config.model_name, config.alias, version, edits)
    counts = batch_ray.recommend_on_ray(load, config, version=version, edits=edits)
    logger.info("%s", counts.told(edits))
    for reason, count in counts.reasons.items():
        logger.warning("%d users get none: %s", count, reason)
    logger.info("One row per user, those without recommendations too: %s", config.output)
    log_metadata({"model": f"models:/{config.model_name}/{version}", **counts.metadata()})
    return asdict(counts)
