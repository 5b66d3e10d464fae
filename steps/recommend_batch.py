"""Recommendations for a table of users, by the model that an alias names."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, log_metadata, step
from zenml.logger import get_logger

from materializers.table import TableMaterializer
from rere.serving.config import BatchConfig

logger = get_logger(__name__)


@step(enable_cache=False, experiment_tracker=True, output_materializers=TableMaterializer)  # the alias may have moved
def recommend_batch(config: BatchConfig) -> Annotated[pd.DataFrame, ArtifactConfig(name="recommendations")]:
    """The k best items of every user, as Parquet."""
    from rere.serving.batch import read_users, recommend_users, write_parquet
    from rere.serving.edits_log import read_edits
    from steps.alias import AliasSource
    from steps.registry import require_tracker

    require_tracker()
    users = read_users(config.users)
    deployment = AliasSource(config.model_name, config.alias).first()
    if config.edits_file is not None:
        deployment.snapshot = deployment.edited(read_edits(config.edits_file))
    table, unknown = recommend_users(deployment, users, config)
    if unknown:
        logger.warning("%d users have no known item and get no recommendations: %s ...", len(unknown), unknown[:5])
    if config.output is not None:
        write_parquet(table, config.output)
    log_metadata(
        {
            "model": f"models:/{config.model_name}/{deployment.version}",
            "users": len(users),
            "users_without_a_known_item": len(unknown),
            "recommendations": len(table),
        }
    )
    return table
