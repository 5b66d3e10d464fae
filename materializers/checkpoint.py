"""A trained model: a directory of weights and records, moved as files, never as a Python object."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from zenml.enums import ArtifactType
from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.models.checkpoint import Checkpoint


class CheckpointMaterializer(DirectoryMaterializer):
    """Copies the sealed directory as it is; `load` hands out where it lies."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Checkpoint,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    FOLDER: ClassVar[str] = "checkpoint"

    def write(self, data: Checkpoint, directory: Path) -> None:
        # Not checked here: the copy is, which would show what happened to either.
        shutil.copytree(data.path, directory, dirs_exist_ok=True)

    def read(self, directory: Path, data_type: type[Checkpoint]) -> Checkpoint:
        return data_type(directory)

    def compute_content_hash(self, data: Checkpoint) -> str:
        """What follows isn't run again for a model that was trained again to the same result."""
        return data.content()

    def pictures(self, data: Checkpoint) -> dict[str, str]:
        return {
            "curves.csv": pd.DataFrame(data.curves()).to_csv(index=False),
            "training.json": json.dumps(data.facts(), indent=1, default=str),
        }

    def facts(self, data: Checkpoint) -> dict[str, MetadataType]:
        return {"training": json.loads(json.dumps(data.facts(), default=str))}
