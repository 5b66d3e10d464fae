"""The door to tuning: `zenml pipeline run tune_pipeline -c configs/tune.yaml` (see `rere_pipeline.py`)."""

import sys

from pipelines.explain import explain_errors
from pipelines.tune import tune_pipeline

explain_errors()
sys.modules[__name__] = tune_pipeline  # type: ignore[assignment]
