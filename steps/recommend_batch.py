"""Recommendations for a table of users, by the model that an alias names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, log_metadata, step
from zenml.logger import get_logger

from materializers.table import TableMaterializer
from rere.serving.config import BatchConfig, ServingConfig

logger = get_logger(__name__)


@step(
    enable_cache=False,  # the alias may have moved
    experiment_tracker=True,
    output_materializers={"recommendations": TableMaterializer, "unanswered": TableMaterializer},
)
def recommend_batch(
    config: BatchConfig,
) -> tuple[
    Annotated[pd.DataFrame, ArtifactConfig(name="recommendations")],
    Annotated[pd.DataFrame, ArtifactConfig(name="unanswered")],
]:
    """The k best items of every user, and the users who get none with the reason: see `BatchResult`."""
    from ops.registry.alias import AliasSource
    from ops.registry.edits import batch_edits
    from ops.registry.mlflow_registry import require_tracker
    from rere.serving.answer_files import Counts
    from rere.serving.batch import recommend_users, require_writable, unanswered_path, write_parquet
    from rere.serving.users import read_users

    require_tracker()
    output = None if config.output is None else Path(config.output).absolute()
    if output is not None:
        require_writable(output)
    users = read_users(config.users)
    edits = batch_edits(config)
    serving = ServingConfig(prefix_tokens=0, lookahead_tokens=0, precision=config.precision)
    deployment = AliasSource(config.model_name, config.alias, serving).first()
    deployment.snapshot = deployment.edited(edits)
    result = recommend_users(deployment, users, config)
    result.require_rows()
    counts = Counts.of(len(users), result)
    logger.info("%s", counts.told(edits))
    for reason, count in counts.reasons.items():
        first = result.unanswered.loc[result.unanswered["reason"] == reason].iloc[0]
        logger.warning("%d users get none: %s, such as %r in row %d", count, reason, first["user_id"], first["row"])
    if output is not None:
        write_parquet(result.recommendations, output)
        write_parquet(result.unanswered, unanswered_path(output))
        logger.info("Recommendations: %s. Users who get none: %s", output, unanswered_path(output))
    else:
        logger.info("The tables are this run's artifacts `recommendations` and `unanswered`: `output` names no file.")
    log_metadata(
        {
            "model": f"models:/{config.model_name}/{deployment.version}",
            **counts.metadata(),
            "recommendations": len(result.recommendations),
        }
    )
    return result.recommendations, result.unanswered
