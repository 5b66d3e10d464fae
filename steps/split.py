"""Cut the interactions into prediction rows."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.dataset import WindowsMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.config.data import SplitConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport


@step(cache_policy=cache_policy(__name__), output_materializers=WindowsMaterializer)
def split(
    dataset: Dataset, data_validation: ValidationReport, config: SplitConfig
) -> Annotated[Windows, ArtifactConfig(name="windows")]:
    """Split a data set that passed its checks."""
    from rere.data.windows import make_windows

    data_validation.raise_if_failed()
    return make_windows(dataset, config)
