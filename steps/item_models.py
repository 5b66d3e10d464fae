"""The item models: rivals of the generative one, and the teacher of its collaborative reward."""

from __future__ import annotations

from typing import Annotated

from zenml import ArtifactConfig, step

from materializers.item_models import ItemModelsMaterializer
from ops.runtime.cache_keys import cache_policy, code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, work_directory
from rere.catalog.index import CatalogIndex
from rere.config.recommenders import ItemModelsConfig
from rere.data.dataset import Dataset, Windows
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import modules


# One materializer for several outputs goes through a set in ZenML 0.98: the cache key would change at random.
@step(
    name="item_models",
    cache_policy=cache_policy(__name__, *modules()),
    output_materializers={"item_models": ItemModelsMaterializer, "teacher": ItemModelsMaterializer},
)
def train_item_models(
    dataset: Dataset, windows: Windows, catalog: CatalogIndex, config: ItemModelsConfig
) -> tuple[
    Annotated[ItemModels, ArtifactConfig(name="item_models")], Annotated[ItemModels, ArtifactConfig(name="teacher")]
]:
    """Fit on the training period; epochs and weights are chosen on half of the validation users.

    Returns all models, and the teacher alone, cross-fitted where the settings say so: a change of another model leaves
    the teacher's pupil cached.
    """
    from rere.recommenders.fitting import fit_data, fit_item_models, fit_teacher

    code = (code_fingerprint(module) for module in (__name__, *modules()))
    inputs = (windows.fingerprint, catalogue_fingerprint(catalog), *code)
    with work_directory("item_models", config.as_one(), *inputs) as work:
        data = fit_data(dataset, windows, catalog)
        fitted = fit_item_models(data, config, work)
        teacher = fit_teacher(data, fitted, config, work)
    return fitted, teacher
