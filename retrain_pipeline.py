"""The door: `zenml pipeline run retrain_pipeline -c configs/retrain.yaml` (see `rere_pipeline.py`).

`rere retrain` asks first whether there is anything new; this door doesn't.
"""

import sys

from pipelines.explain import explain_errors
from pipelines.retrain import retrain_pipeline

explain_errors()
sys.modules[__name__] = retrain_pipeline  # type: ignore[assignment]
