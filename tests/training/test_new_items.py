"""Items that nobody has touched rank with those that are called alike: a world of two themes that never meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.catalog.index import build_index
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.models.tree_attention import TreeModel
from rere.serving.engine.deployment import Query
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.live_catalog import CatalogEdits
from rere.training.sft.train import train_sft
from tests.conftest import TINY

EACH = 8  # items of a theme; those of the second follow those of the first
THEMES = ("Robot Car", "Doll House")
LEARNED = SFTConfig(
    distillation=None, normalisation="trie", epochs=6, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)


def windows() -> Windows:
    """40 users, each of one theme, who take items of it in any order."""
    random, rows = np.random.default_rng(0), []
    for user in range(40):
        ids = [f"i{EACH * (user % 2) + item}" for item in random.permutation(EACH)]
        for position in range(1, EACH):
            period = {EACH - 1: "test", EACH - 2: "valid"}.get(position, "train")
            rows.append((f"u{user}", ids[max(0, position - 4) : position], ids[position], 1_000 + position, period))
    table = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"])
    table.insert(0, "row_id", np.arange(len(table)))
    return Windows(table.assign(warm=True), history_items=4)


@pytest.mark.parametrize("code", ["item", "prefix"])
def test_an_item_that_nobody_has_touched_ranks_with_those_called_alike(code: str, tmp_path: Path) -> None:
    titles = [f"{theme} {number}" for theme in THEMES for number in range(EACH)]
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(2 * EACH)], "title": titles})
    catalog = build_index(items, IndexConfig.model_validate({"code": code, "backbone": TINY}))
    checkpoint = train_sft(windows(), catalog, TINY, LEARNED, tmp_path, log=lambda *_: None)
    model, search = TreeModel(checkpoint.load_model()), SearchSettings(beams=4, normalisation="trie")
    deployment = GenerativeDeployment("1", model, catalog, 4, search)
    added = {f"new{n}": f"{theme} 53" for n, theme in enumerate(THEMES)}
    deployment.snapshot = deployment.edited(CatalogEdits(added))
    everything = len(deployment.snapshot.ids)
    for theme in range(2):
        own, other = 2 * EACH + theme, 2 * EACH + 1 - theme
        foreign = range(EACH * (1 - theme), EACH * (2 - theme))
        for first in range(EACH):
            history = tuple(EACH * theme + (first + n) % EACH for n in range(3))
            [ranked] = deployment.rank([Query(history, everything)]) or []
            place = {item: n for n, item in enumerate(ranked.items)}
            assert place[own] < place[other]
            assert place[own] < np.median([place[item] for item in foreign])
