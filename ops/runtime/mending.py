"""Artifacts that are damaged or gone: found, and the steps that made them taken out of the cache.

ZenML serves a step from its cache whatever became of the files. Nothing is deleted here: the next run makes the
artifact anew, under another address, and where its content is the same, what follows stays cached.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from zenml.client import Client
from zenml.models import ArtifactVersionResponse, StepRunUpdate
from zenml.utils import source_utils
from zenml.utils.time_utils import utc_now

from materializers.directory import DirectoryMaterializer, fetch
from rere.artifacts.manifest import verify
from rere.errors import RereError

PAGE = 100


def artifacts(uri: str | None) -> list[ArtifactVersionResponse]:
    """The artifact at `uri`, or all that are kept as sealed directories; RereError where ZenML knows none at `uri`."""
    first = Client().list_artifact_versions(uri=uri, size=PAGE, hydrate=True)
    found = list(first.items)
    for page in range(2, first.total_pages + 1):
        found += Client().list_artifact_versions(uri=uri, page=page, size=PAGE, hydrate=True).items
    if uri and not found:
        raise RereError(
            "the address of an artifact that ZenML knows", uri, "copy it from the message; `rere mend` checks them all"
        )
    return [artifact for artifact in found if _folder(artifact) is not None]


def problem(artifact: ArtifactVersionResponse) -> str | None:
    """What is wrong with an artifact's files; None where nothing is."""
    path = f"{artifact.uri}/{_folder(artifact)}"
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(path)
        if not here.is_dir():  # a remote store, or gone
            here = Path(scratch) / "copy"
            fetch(Client().active_stack.artifact_store, path, here)
        try:
            verify(here, path)
        except RereError as error:
            return error.parts[1]
    return None


def forget(artifact: ArtifactVersionResponse) -> list[str]:
    """Take the steps that give this artifact out of the cache; returns their names."""
    client, maker = Client(), artifact.producer_step_run_id
    key = client.get_run_step(maker).cache_key if maker is not None else None
    if key is None:
        return []
    served = client.list_run_steps(cache_key=key, cache_expired=False, size=PAGE, hydrate=True).items
    for step in served:
        client.zen_store.update_run_step(step.id, StepRunUpdate(cache_expires_at=utc_now()))
    return sorted({step.name for step in served})


def _folder(artifact: ArtifactVersionResponse) -> str | None:
    """Where below its address the sealed directory is; None for what another materializer keeps."""
    try:
        kind = source_utils.load(artifact.materializer)
    except (ImportError, AttributeError):  # of other code than ours
        return None
    return kind.FOLDER if isinstance(kind, type) and issubclass(kind, DirectoryMaterializer) else None
