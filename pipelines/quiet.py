"""Silences what libraries print during a run and nobody can act on; a log file gets no colour codes."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from zenml.logger import ZenMLConsoleFormatter

UNSAID = {  # logger: beginnings of its messages
    "zenml.integrations.mlflow.experiment_trackers.mlflow_experiment_tracker": (
        "Failed to disable MLflow autologging",  # of frameworks that aren't used
    ),
    "mlflow.pyfunc": ("Validating input example",),
    "mlflow.system_metrics.system_metrics_monitor": (
        "Started monitoring",
        "Stopping system",
        "Successfully terminated",
        "Skip logging GPU",
    ),
    "matplotlib.font_manager": ("generated new fontManager",),
}


def quieten() -> None:
    """For the process that runs a pipeline; safe to repeat."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        os.environ["ZENML_LOGGING_COLORS_DISABLED"] = "true"  # read where a formatter is made, as these were before
        for handler in (*logging.getLogger().handlers, *logging.getLogger("zenml").handlers):
            if isinstance(handler.formatter, ZenMLConsoleFormatter):
                handler.setFormatter(ZenMLConsoleFormatter(os.environ.get("ZENML_LOGGING_FORMAT")))
    for name in UNSAID:
        logging.getLogger(name).addFilter(_said)
    # An argument that transformers' own trainer hands on by its old name.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)


def _said(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(UNSAID[record.name])
