"""Loading a registered version for serving, by what its directories hold."""

from __future__ import annotations

from pathlib import Path

from rere.catalog.index import CatalogIndex
from rere.config.decoding import InferencePrecision, SearchSettings
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.inference import for_inference
from rere.models.tree_attention import TreeModel
from rere.recommenders.prior import Prior
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.engine.item_model import ItemModelDeployment


def load_deployment(
    version: str,
    checkpoint: Path | None,
    catalog: Path,
    history_items: int,
    search: SearchSettings,
    *,
    prior: Path | None = None,
    precision: InferencePrecision = "float32",
) -> Deployment:
    """Load a version's sealed directories and warm it up.

    Args:
        checkpoint: None for an item model, which lies in `prior`.
        search, precision: of a language model.

    Raises:
        RereError: directories that are altered or incomplete.
    """
    known, items = None if prior is None else Prior.load(prior), CatalogIndex.load(catalog)
    deployment: Deployment
    if known is not None and known.alone:
        deployment = ItemModelDeployment(version, items, history_items, prior=known)
    elif checkpoint is None:
        raise RereError("a version with a language model or an item model", "neither", "register it anew")
    else:
        model = TreeModel(for_inference(Checkpoint(checkpoint).load_model(), precision))
        deployment = GenerativeDeployment(version, model, items, history_items, search, prior=known)
    deployment.warm_up()
    return deployment
