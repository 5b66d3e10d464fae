"""The ZenML side of a registered version: Model version `v7` for MLflow's 7 (ZenML refuses bare numbers as names)."""

from __future__ import annotations

from zenml import add_tags, get_step_context
from zenml.client import Client
from zenml.enums import ModelStages
from zenml.metadata.metadata_types import MetadataType
from zenml.model.utils import link_artifact_version_to_model_version
from zenml.models import ModelVersionPipelineRunRequest, ModelVersionResponse
from zenml.utils.metadata_utils import log_metadata

DESCRIPTION = "A recommender (ReRe): it reads a user's history and says which items come next."
USE = "Next items for users with a history, one by one over HTTP or for all users at once."
LIMITS = "Only items of its catalogue. Each version's description is its model card, with what ranks better."


def record_version(
    name: str, version: str, stage: ModelStages, metadata: dict[str, MetadataType], card: str = ""
) -> None:
    """Make or find the Model version of `name` for MLflow's `version`, link the run and its artifacts, move its stage.

    Made here, last, so that no failed run leaves a Model version behind.

    Args:
        card: its description, Markdown.
    """
    client = Client()
    found = find_or_make(client, name, version)
    link_run(name, version)
    log_metadata(metadata=metadata, model_version_id=found.id)
    if card and found.description != card:
        client.update_model_version(name, found.id, description=card)
    if found.stage != stage:
        client.update_model_version(name, found.id, stage=stage, force=True)  # takes the stage from its last holder


def link_run(name: str, version: str) -> None:
    """Link the running step's run, and all artifacts that the run has so far, to the Model version. Safe to repeat."""
    client, context = Client(), get_step_context()
    found, run = client.get_model_version(name, f"v{version}"), client.get_pipeline_run(context.pipeline_run.id)
    client.zen_store.create_model_version_pipeline_run_link(
        ModelVersionPipelineRunRequest(model_version=found.id, pipeline_run=run.id)
    )
    made = [artifact for step in run.steps.values() for outputs in step.outputs.values() for artifact in outputs]
    made += [artifact for inputs in context.inputs.values() for artifact in inputs]  # also those of other runs
    for artifact in {artifact.id: artifact for artifact in made}.values():
        link_artifact_version_to_model_version(artifact_version=artifact, model_version=found)


def tag_run(tags: list[str]) -> None:
    """Tag the running step's run, so that lists of runs can be filtered."""
    add_tags(tags=list(tags), run=get_step_context().pipeline_run.id)


def running() -> str:
    """The name of the running step's run."""
    return str(get_step_context().pipeline_run.name)


def metadata_of(name: str, version: str) -> dict[str, MetadataType]:
    """What was written of a version, newest value of each; empty where ZenML doesn't know the version."""
    try:
        return dict(Client().get_model_version(name, f"v{version}").run_metadata)
    except KeyError:
        return {}


def add_metadata(name: str, version: str, metadata: dict[str, MetadataType]) -> None:
    """Write more of a version that ZenML knows."""
    log_metadata(metadata=metadata, model_name=name, model_version=f"v{version}")


def set_production(name: str, version: str) -> None:
    """Move the stage `production` to a version, from whichever has it."""
    Client().update_model_version(name, f"v{version}", stage=ModelStages.PRODUCTION, force=True)


def production_version(name: str) -> str | None:
    """The version in the stage `production`, if any."""
    try:
        found = Client().get_model_version(name, ModelStages.PRODUCTION)
    except KeyError:
        return None
    return str(found.name).removeprefix("v")


def find_or_make(client: Client, name: str, version: str) -> ModelVersionResponse:
    """The Model version, made where there is none, its Model too."""
    try:
        model = client.get_model(name)
    except KeyError:
        model = client.create_model(
            name, description=DESCRIPTION, use_cases=USE, limitations=LIMITS, save_models_to_registry=False
        )
    try:
        return client.get_model_version(model.id, f"v{version}")
    except KeyError:
        return client.create_model_version(model.id, name=f"v{version}")
