"""What a retraining goes on from: the champion, or a version that the settings name, and its artifacts."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from zenml.client import Client
from zenml.io import fileio
from zenml.models import ArtifactVersionResponse

from materializers.catalog import CatalogIndexMaterializer
from materializers.checkpoint import CheckpointMaterializer
from materializers.collected import CollectedMaterializer
from materializers.dataset import ROWS, DatasetMaterializer
from ops.registry import mlflow_registry as registry
from rere.artifacts.manifest import MANIFEST
from rere.config.retraining import BaseVersion, RetrainConfig

POLICIES = ("rl_model", "preference_model")  # a run serves the first that it has
FOLDERS = {
    **dict.fromkeys(POLICIES, CheckpointMaterializer.FOLDER),
    "catalog": CatalogIndexMaterializer.FOLDER,
    "dataset": DatasetMaterializer.FOLDER,
}


@dataclass(frozen=True)
class Base:
    """The champion's artifacts. `collected` is None for a model that the plain pipeline made, which keeps none."""

    version: str
    language_model: ArtifactVersionResponse
    catalog: ArtifactVersionResponse
    dataset: ArtifactVersionResponse
    collected: ArtifactVersionResponse | None


def base_of(name: str, retrain: RetrainConfig) -> Base | None:
    """What a retraining of the model `name` goes on from: the champion, or the version that the settings name."""
    if isinstance(retrain.base, BaseVersion):
        return find_base(retrain.base.model, retrain.base.version)
    return find_base(name)


def find_base(name: str, version: str | None = None) -> Base | None:
    """The champion (or the version asked for) and its artifacts; None without a champion, or where its files are gone.

    A warning says so.
    """
    version = version or registry.champion_version(name)
    if version is None:
        return None
    _ = Client().active_stack.artifact_store  # loads its kind of file system: else fileio knows no s3://
    found = artifacts_of(name, version)
    model = next((part for part in POLICIES if part in found), POLICIES[0])
    parts = (model, "catalog", "dataset")
    lost = [part for part in parts if part not in found or not _whole(found[part], FOLDERS[part])]
    if lost:
        logging.getLogger(__name__).warning(
            "Version %s, the base, lacks its %s: no training can go on from it.",
            version,
            ", ".join(lost),
        )
        return None
    return Base(version, found[model], found["catalog"], found["dataset"], _rows_of(found["dataset"]))


def artifacts_of(name: str, version: str) -> dict[str, ArtifactVersionResponse]:
    """The artifacts of a ZenML Model version that a retraining goes on from, by name, newest of each."""
    client = Client()
    models = [model for model in client.list_models(name=f"equals:{name}").items if model.name == name]
    versions = client.list_model_versions(models[0].id, name=f"v{version}").items if models else []
    if not versions:
        return {}
    found: dict[str, ArtifactVersionResponse] = {}
    for part in FOLDERS:
        newest = client.list_artifact_versions(
            artifact=part, model_version_id=versions[0].id, sort_by="desc:created", size=1, hydrate=True
        )
        if newest.items:
            found[part] = newest.items[0]
    return found


def _rows_of(dataset: ArtifactVersionResponse) -> ArtifactVersionResponse | None:
    if ROWS not in dataset.run_metadata:
        return None
    found = Client().list_artifact_versions(id=str(dataset.run_metadata[ROWS]), hydrate=True).items
    return found[0] if found and _whole(found[0], CollectedMaterializer.FOLDER) else None


def _whole(artifact: ArtifactVersionResponse, folder: str) -> bool:
    return bool(fileio.exists(f"{artifact.uri}/{folder}/{MANIFEST}"))
