"""Batch inference: a table of users in, recommendations by the model under an alias out."""

from __future__ import annotations

from pipelines.checked import checked_pipeline
from rere.serving.config import BatchConfig, RayBatch
from steps.recommend_batch import recommend_batch
from steps.recommend_on_ray import recommend_on_ray


@checked_pipeline
def batch_pipeline(batch: BatchConfig = BatchConfig()) -> None:
    """Recommend to every user of a table."""
    if isinstance(batch.engine, RayBatch):
        recommend_on_ray(config=batch)
    else:
        recommend_batch(config=batch)
