"""The door to batch inference: `zenml pipeline run batch_pipeline -c configs/batch.yaml` (see `rere_pipeline.py`)."""

import sys

from pipelines.batch import batch_pipeline
from pipelines.explain import explain_errors

explain_errors()
sys.modules[__name__] = batch_pipeline  # type: ignore[assignment]
