"""Print the pipeline's defaults as a run configuration: `python -m pipelines.defaults > configs/nano.yaml`."""

from __future__ import annotations

import inspect
import sys
from contextlib import redirect_stdout
from typing import Any

import yaml

HEADER = """\
# The default: MovieLens-100K, a small model from scratch, 2 CPU cores, about 10 minutes. Equal to the defaults of the
# code (a test asserts it), so `zenml pipeline run rere_pipeline` needs no `-c`. Copy it to start a setting of your own.
# After a change of a default: python -m pipelines.defaults > configs/nano.yaml
"""


def defaults() -> dict[str, Any]:
    """Parameter name -> its default settings, as plain values."""
    from pipelines.rere import rere_pipeline

    parameters = inspect.signature(rere_pipeline.entrypoint).parameters
    settings = {name: parameter.default for name, parameter in parameters.items()}
    return {name: None if one is None else one.model_dump(mode="json") for name, one in settings.items()}


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # a store that ZenML finds empty makes it talk while the pipeline is imported
        settings = defaults()
    print(HEADER + yaml.safe_dump({"parameters": settings}, sort_keys=False, width=110), end="")
