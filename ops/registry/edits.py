"""Where the changes of a model's live catalogue are kept: the service and batch inference must mean the same file."""

from __future__ import annotations

from pathlib import Path

from ops.registry.alias import AliasSource
from rere.project import file_name, project_root
from rere.serving.config import BatchConfig
from rere.serving.edits_log import read_edits
from rere.serving.engine.deployment import Deployment
from rere.serving.live_catalog import CatalogEdits


def default_edits(model: str) -> Path:
    """The file of a registered model: in the project, wherever the command was started."""
    return project_root() / ".rere" / "serving" / f"{file_name(model)}.json"


def batch_edits(config: BatchConfig) -> CatalogEdits:
    """What holds for a batch: the changes in the file that is named, or in the model's own where there is one.

    Raises:
        RereError: the named file isn't there, or is none of changes.
    """
    if config.edits_file is not None:
        return read_edits(project_root() / config.edits_file)
    own = default_edits(config.model_name)
    return read_edits(own) if own.exists() else CatalogEdits()


def edited_deployment(model: str, alias: str, version: str, edits: CatalogEdits) -> Deployment:
    """A version with these changes, as batch inference uses it; in an actor, so it takes what travels."""
    deployment = AliasSource(model, alias).load(version)
    deployment.snapshot = deployment.edited(edits)
    return deployment
