"""The MLflow model registry: versions, their files, aliases and tags.

A version's tags (`VersionTags`) name its content; the same content is never registered twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from ops.registry.tags import VersionTags
from rere.catalog.index import CatalogIndex
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, with its files at hand.

    checkpoint: None for an item model, which lies in `prior`
    prior: None for one of an earlier release
    """

    version: str
    tags: VersionTags
    catalog: Path
    settings: dict[str, Any]  # history_items, beams, normalisation
    checkpoint: Path | None = None
    prior: Path | None = None


def require_tracker() -> None:
    """RereError unless the running step has an MLflow run to log to."""
    if mlflow.active_run() is None:
        raise RereError(
            "a stack with an MLflow experiment tracker, whose registry takes the model",
            "a stack without one",
            "run `make stack`, or add one to your stack",
        )


def find_version(name: str, fingerprint: str) -> str | None:
    """The registered version with this content, if there is one."""
    for version in MlflowClient().search_model_versions(f"name='{name}'"):
        if VersionTags.read(version.tags).fingerprint == fingerprint:
            return str(version.version)
    return None


def champion_version(name: str) -> str | None:
    """The version that the alias `champion` names, if any."""
    return version_by_alias(name, CHAMPION)


def version_by_alias(name: str, alias: str) -> str | None:
    """The version that an alias names, if any."""
    version = _by_alias(name, alias)
    return None if version is None else str(version.version)


@dataclass(frozen=True)
class Listed:
    """A registered version, at a glance; `created` in milliseconds since 1970."""

    version: str
    created: int
    aliases: tuple[str, ...]
    tags: VersionTags


def model_tags(name: str) -> dict[str, str]:
    """The registered model's own tags; none for a model that isn't registered."""
    found = MlflowClient().search_registered_models(f"name='{name}'")
    return dict(found[0].tags) if found else {}


def last_number(tags: Iterable[str], prefix: str) -> int:
    """The highest N among tags `prefixN` and `prefixN.…`, 0 for none; those too whose value can't be read."""
    numbers = [key.removeprefix(prefix).split(".")[0] for key in tags if key.startswith(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def version_numbers(name: str) -> set[str]:
    """All versions, by number alone: one request."""
    return {str(found.version) for found in MlflowClient().search_model_versions(f"name='{name}'")}


def versions(name: str) -> list[Listed]:
    """All versions, newest first; none for a model that isn't registered."""
    client = MlflowClient()
    found = sorted(client.search_model_versions(f"name='{name}'"), key=lambda v: int(v.version), reverse=True)
    full = [client.get_model_version(name, v.version) for v in found]  # a search leaves the aliases out
    return [Listed(str(v.version), v.creation_timestamp, tuple(v.aliases), VersionTags.read(v.tags)) for v in full]


@contextmanager
def room_for(uri: str) -> Iterator[str | None]:
    """Where MLflow is to put the files of a model (`dst_path`); None: they are on this machine, and read in place.

    Gone at the end. MLflow itself would leave each copy on the disk: a service that can't load a version tries again
    every half minute.
    """
    store: Any = get_artifact_repository(uri)
    while hasattr(store, "repo"):  # those of `models:/` and `runs:/` addresses lead to another
        store = store.repo
    if isinstance(store, LocalArtifactRepository):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="rere-model-") as scratch:
        yield scratch


@contextmanager
def fetched(name: str, version: str) -> Iterator[Registered]:
    """A registered version and its files, which are there within; raises RereError where they are incomplete."""
    uri = f"models:/{name}/{version}"
    with room_for(uri) as room:
        directory = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=room))
        function = Model.load(directory).flavors["python_function"]
        stored = function["artifacts"]
        parts = ("checkpoint", "catalog", "prior")
        paths = {part: directory / stored[part]["path"] for part in parts if part in stored}
        yield Registered(
            version=version,
            tags=VersionTags.read(MlflowClient().get_model_version(name, version).tags),
            settings=dict(function["config"]),
            **paths,
        )


def read(registered: Registered) -> tuple[Checkpoint | None, CatalogIndex]:
    """Its checkpoint (None for an item model) and catalogue, checked against their manifests.

    Raises:
        RereError: altered or incomplete files.
    """
    if registered.checkpoint is None and registered.prior is None:
        raise RereError("a version with a language model or an item model", "neither", "register it anew")
    checkpoint = None if registered.checkpoint is None else Checkpoint(registered.checkpoint)
    if checkpoint is not None:
        checkpoint.verify()
    return checkpoint, CatalogIndex.load(registered.catalog)


def register(uri: str, name: str, tags: VersionTags) -> str:
    """Make a logged model a version of `name`; returns the version."""
    return str(mlflow.register_model(uri, name, tags=tags.written()).version)


def tag(name: str, version: str, tags: VersionTags) -> None:
    """Set a version's tags."""
    for key, value in tags.written().items():
        MlflowClient().set_model_version_tag(name, version, key, value)


def describe(name: str, version: str, card: str) -> None:
    """Set a version's description, Markdown."""
    MlflowClient().update_model_version(name, version, description=card)


def remove_alias(name: str, alias: str, version: str) -> None:
    """Take an alias from a version, if it holds it."""
    found = _by_alias(name, alias)
    if found is not None and str(found.version) == version:
        MlflowClient().delete_registered_model_alias(name, alias)


def get(name: str, version: str) -> Listed:
    """One version; raises RereError where there is none."""
    known = {found.version: found for found in versions(name)}
    if version not in known:
        raise RereError(f"a registered version of {name}: {', '.join(known) or 'there is none'}", version, "correct it")
    return known[version]


def set_alias(name: str, alias: str, version: str) -> None:
    """Let the alias of a registered model name this version."""
    MlflowClient().set_registered_model_alias(name, alias, version)


def _by_alias(name: str, alias: str) -> ModelVersion | None:
    try:
        return MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, no alias
            return None
        raise
