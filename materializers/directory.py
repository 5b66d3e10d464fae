"""The base of all materializers: an object that can `save(directory)` and `load(directory)`.

The data lie in a directory below the artifact's, sealed: a manifest of SHA-256 sums that is uploaded last (the
upload is not atomic) and checked when loading. Pictures of the data lie beside it: they don't break the seal.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from zenml.artifact_stores import BaseArtifactStore
from zenml.enums import ArtifactType, VisualizationType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.metadata.metadata_types import MetadataType

from rere.artifacts.manifest import MANIFEST, fingerprint, verify, writing


class DirectoryMaterializer(BaseMaterializer):
    """Keeps an object as one sealed directory. A subclass names its types, and pictures and facts if it has any."""

    SKIP_REGISTRATION: ClassVar[bool] = True
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    FOLDER: ClassVar[str] = "data"

    _sums: dict[str, str]

    def write(self, data: Any, directory: Path) -> None:
        """Write `data` into the empty `directory` and seal it."""
        data.save(directory)

    def read(self, directory: Path, data_type: type[Any]) -> Any:
        """Read what `write` wrote; raises RereError when half-written or altered."""
        return data_type.load(directory)

    def pictures(self, data: Any) -> dict[str, str]:
        """File name (its ending tells the kind: html, csv, md, json) -> content, for the dashboard."""
        return {}

    def facts(self, data: Any) -> dict[str, MetadataType]:
        """Counts and the like, for the dashboard."""
        return {}

    # ------------------------------------------------------------ ZenML's interface

    def save(self, data: Any) -> None:
        with writing(self.uri), self.get_temporary_directory(delete_at_exit=True) as scratch:
            directory = Path(scratch) / self.FOLDER
            with writing(scratch):
                directory.mkdir()
                self.write(data, directory)
            self._sums = verify(directory)
            for name in [*self._sums, MANIFEST]:
                target = f"{self.uri}/{self.FOLDER}/{name}"
                self.artifact_store.makedirs(target.rpartition("/")[0])  # a path would lose a slash of s3://
                fileio.copy(str(directory / name), target, overwrite=True)

    def load(self, data_type: type[Any]) -> Any:
        called = f"{self.uri}/{self.FOLDER}"
        remedy = f"run {remedy_for(self.uri)}, then the pipeline again: the step that made it will make it anew"
        here = Path(self.uri) / self.FOLDER
        if here.is_dir():  # a local store: read in place, a checkpoint may be gigabytes
            verify(here, called, remedy)
            return self.read(here, data_type)
        with self.get_temporary_directory(delete_at_exit=False) as scratch:
            there = Path(scratch) / self.FOLDER
            fetch(self.artifact_store, called, there)
            verify(there, called, remedy)
            return self.read(there, data_type)

    def save_visualizations(self, data: Any) -> dict[str, VisualizationType]:
        kinds = {
            ".html": VisualizationType.HTML,
            ".csv": VisualizationType.CSV,
            ".md": VisualizationType.MARKDOWN,
            ".json": VisualizationType.JSON,
        }
        shown = {}
        for name, content in self.pictures(data).items():
            with self.artifact_store.open(f"{self.uri}/{name}", "w") as file:
                file.write(content)
            shown[f"{self.uri}/{name}"] = kinds[PurePosixPath(name).suffix]
        return shown

    def extract_metadata(self, data: Any) -> dict[str, MetadataType]:
        return {"sha256": fingerprint(self._sums), "files": len(self._sums), **self.facts(data)}

    def compute_content_hash(self, data: Any) -> str:
        # Equal content gives equal cache keys downstream, whichever run made it.
        return fingerprint(self._sums)


def fetch(store: BaseArtifactStore, source: str, target: Path) -> None:
    """Copy a directory of an artifact store to this machine; one that isn't there leaves nothing."""
    for folder, _, files in store.walk(source):
        for file in files:
            path = f"{_text(folder)}/{_text(file)}"
            copy = target / PurePosixPath(path).relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            fileio.copy(path, str(copy))


def remedy_for(uri: str) -> str:
    """The command that makes ZenML forget an artifact that is damaged or gone."""
    return f"`rere mend {shlex.quote(uri)}`"


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
