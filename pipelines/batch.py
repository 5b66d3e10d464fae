"""Batch inference: a table of users in, recommendations by the model under an alias out."""

from __future__ import annotations

from pipelines.checked import checked_pipeline
from rere.serving.config import BatchConfig
from steps.recommend_batch import recommend_batch


@checked_pipeline
def batch_pipeline(batch: BatchConfig = BatchConfig()) -> None:
    """Recommend to every user of a table."""
    recommend_batch(config=batch)
