"""The door: `zenml pipeline run rere_pipeline`.

ZenML loads a name without a dot as a module and then asks for a pipeline. So this module puts the pipeline in
its own place. Sources still resolve to `pipelines.rere` and `steps.*`.
"""

import sys

from pipelines.explain import explain_errors
from pipelines.rere import rere_pipeline

explain_errors()
sys.modules[__name__] = rere_pipeline  # type: ignore[assignment]
