"""The ZenML side of a registered version: Model version `v7` for MLflow's 7 (ZenML refuses bare numbers as names)."""

from __future__ import annotations

from zenml import get_step_context
from zenml.client import Client
from zenml.enums import ModelStages
from zenml.metadata.metadata_types import MetadataType
from zenml.model.utils import link_artifact_version_to_model_version
from zenml.models import ModelVersionResponse
from zenml.utils.metadata_utils import log_metadata


def record_version(name: str, version: str, stage: ModelStages, metadata: dict[str, MetadataType]) -> None:
    """Make or find the Model version of `name` for MLflow's `version`, link the running step's inputs, move its stage.

    Made here, last, so that no failed run leaves a Model version behind.
    """
    client = Client()
    found = _version(client, name, f"v{version}")
    for inputs in get_step_context().inputs.values():
        for artifact in inputs:
            link_artifact_version_to_model_version(artifact_version=artifact, model_version=found)
    log_metadata(metadata=metadata, model_version_id=found.id)
    if found.stage != stage:
        client.update_model_version(name, found.id, stage=stage, force=True)  # takes the stage from its last holder


def metadata_of(name: str, version: str) -> dict[str, MetadataType]:
    """What `record_version` wrote, newest value of each; empty where ZenML doesn't know the version."""
    try:
        return dict(Client().get_model_version(name, f"v{version}").run_metadata)
    except KeyError:
        return {}


def _version(client: Client, name: str, version: str) -> ModelVersionResponse:
    try:
        model = client.get_model(name)
    except KeyError:
        model = client.create_model(name, description="A generative recommender (ReRe)", save_models_to_registry=False)
    try:
        return client.get_model_version(model.id, version)
    except KeyError:
        return client.create_model_version(model.id, name=version)
