"""A world in which titles decide: users stay with one kind of thing, and its name begins the title.

An item that no training ever saw is added to the live catalogue.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.config.served_model import NewItemsConfig, ServedModelConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.tree_attention import TreeModel
from rere.recommenders.prior import Prior
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.live_catalog import CatalogEdits
from rere.training.sft.train import train_sft
from tests.conftest import TINY

KINDS = ("Robot", "Doll", "Train", "Puzzle")
NAMES = ("Alba", "Boro", "Cato", "Dino", "Echo", "Fino")
PAIRS = [f"{one} {other}" for number, one in enumerate(NAMES) for other in NAMES[number + 1 :]]
PER_KIND = 9
RANDOM = np.random.default_rng(1)
ITEMS = [f"{kind} {PAIRS[pair]}" for kind in KINDS for pair in RANDOM.permutation(len(PAIRS))[:PER_KIND]]
NEW = next(title for title in (f"Doll {pair}" for pair in PAIRS) if title not in ITEMS)
HISTORY = 3


@pytest.fixture(scope="module")
def windows() -> Windows:
    """40 users per kind, each with six of its items in any order."""
    random, rows = np.random.default_rng(0), []
    for user in range(40 * len(KINDS)):
        kind = KINDS[user % len(KINDS)]
        own = [n for n, title in enumerate(ITEMS) if title.startswith(kind)]
        ids = [f"i{n}" for n in random.permutation(own)[:6]]
        for position in range(1, len(ids)):
            period = {4: "valid", 5: "test"}.get(position, "train")
            rows.append((f"u{user}", ids[max(0, position - HISTORY) : position], ids[position], position, period))
    table = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"])
    table.insert(0, "row_id", np.arange(len(table)))
    table["warm"] = True
    return Windows(table, history_items=HISTORY)


@pytest.fixture(scope="module")
def trained(windows: Windows, tmp_path_factory: pytest.TempPathFactory) -> tuple[CatalogIndex, PreTrainedModel]:
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(ITEMS))], "title": ITEMS})
    catalog = build_index(items, IndexConfig.model_validate({"code": "item", "backbone": TINY}))
    config = SFTConfig(distillation=None, epochs=4, learning_rate=1e-2, batch_tokens=64)
    work = tmp_path_factory.mktemp("sft")
    checkpoint = train_sft(windows, catalog, TINY, config, work, log=lambda metrics, update: None)
    return catalog, checkpoint.load_model().eval()


@pytest.mark.parametrize("boost", [None, 20.0])
def test_an_added_item_is_offered_to_those_who_like_its_kind(
    trained: tuple[CatalogIndex, PreTrainedModel], boost: float | None
) -> None:
    catalog, model = trained
    prior = Prior(np.ones(len(ITEMS), dtype=int), ServedModelConfig(new_items=NewItemsConfig()), boost=boost)
    deployment = GenerativeDeployment("1", TreeModel(model), catalog, HISTORY, SearchSettings(beams=40), prior=prior)
    deployment.snapshot = deployment.edited(CatalogEdits({"new": NEW}))
    for kind in KINDS:
        taken = [number for number, title in enumerate(ITEMS) if title.startswith(kind)][:HISTORY]
        [found] = deployment.rank([deployment.query(taken, len(ITEMS) + 1)]) or []
        titles = [deployment.snapshot.catalog.titles[item] for item in found.items]
        if NEW.startswith(kind):
            # With those of its kind before all others; in the midst of them if it is boosted.
            assert titles.index(NEW) <= (PER_KIND if boost is None else PER_KIND // 2)
            assert all(title.startswith(kind) for title in titles[: PER_KIND + 1])
        else:
            assert all(title.startswith(kind) for title in titles[:PER_KIND])
