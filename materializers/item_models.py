"""The item models."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd
from zenml.enums import ArtifactType

from materializers.directory import DirectoryMaterializer
from rere.recommenders.item_models import ItemModels


class ItemModelsMaterializer(DirectoryMaterializer):
    """One directory of weights and records per model."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ItemModels,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    FOLDER: ClassVar[str] = "item_models"

    def pictures(self, data: ItemModels) -> dict[str, str]:
        return {f"{kind}.csv": pd.DataFrame(model.curves).to_csv(index=False) for kind, model in data.models.items()}
