"""The item models: rivals of the generative one, and the teacher of its collaborative reward."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.item_models import ItemModelsMaterializer
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex
from rere.config.recommenders import ItemModelsConfig
from rere.data.dataset import Dataset, Windows
from rere.recommenders.item_models import ItemModels


@step(name="item_models", cache_policy=cache_policy(__name__), output_materializers=ItemModelsMaterializer)
def train_item_models(
    dataset: Dataset, windows: Windows, catalog: CatalogIndex, config: ItemModelsConfig
) -> Annotated[ItemModels, ArtifactConfig(name="item_models")]:
    """Fit on the training period; the best epoch by validation NDCG@10 is kept."""
    from rere.data.sequences import training_sequences
    from rere.recommenders.item_models import fit_item_models

    valid, index = windows.of("valid"), catalog.index_of
    histories = [[index[item] for item in history] for history in valid["history"]]
    targets = [index[item] for item in valid["target"]]
    return fit_item_models(training_sequences(dataset), len(catalog.item_ids), histories, targets, config)
