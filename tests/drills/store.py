"""A local artifact store that needs no ZenML database, for materializers."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from zenml.artifact_stores import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType
from zenml.utils.time_utils import utc_now


def local_store(path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(
        name="test",
        id=uuid4(),
        config=LocalArtifactStoreConfig(path=str(path)),
        flavor="local",
        type=StackComponentType.ARTIFACT_STORE,
        user=uuid4(),
        created=utc_now(),
        updated=utc_now(),
    )
