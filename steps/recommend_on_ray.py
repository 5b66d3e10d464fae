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
    logger.info(
        "%d of %d users get recommendations, %d of them by popularity, for nothing is known of them. %d entries of "
        "histories name no item, and were left out; %d items are removed, %d added.",
        *(counts.answered, counts.users, counts.by_popularity, counts.unknown_entries),
        *(len(edits.removed), len(edits.added)),
    )
    for reason, count in counts.reasons.items():
        logger.warning("%d users get none: %s", count, reason)
    logger.info("One row per user, those without recommendations too: %s", config.output)
    told: dict[str, Any] = {
        "users": counts.users,
        "users_answered": counts.answered,
        "users_by_popularity": counts.by_popularity,
        "users_unanswered": counts.reasons,
        "unknown_entries": counts.unknown_entries,
    }
    log_metadata({"model": f"models:/{config.model_name}/{version}", **told})
    return asdict(counts)
