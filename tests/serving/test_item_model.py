"""An item model served without a language model: over HTTP, in batches, from its files; what is judged is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rere.config.decoding import SearchSettings
from rere.config.served_model import BlendConfig, ServedModelConfig
from rere.errors import RereError
from rere.recommenders.alone import ItemModelAlone
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.prior import Prior
from rere.serving.batch import recommend_users
from rere.serving.config import BatchConfig, UserTable
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.item_model import ItemModelDeployment
from rere.serving.engine.loading import load_deployment
from rere.serving.live_catalog import CatalogEdits
from rere.serving.users import read_users
from tests.serving.helpers import ADMIN, running, tiny_catalog

ITEMS = 40
NEXT = [np.array([item, (item + 1) % ITEMS, (item + 2) % ITEMS]) for item in range(0, ITEMS, 2)]
HISTORIES = [[4], [1, 2, 3], [9, 8]]


def alone(exposure: float = 0.1) -> Prior:
    """What follows in the catalogue's order."""
    model = CoOccurrence.fit(FitData(NEXT, ITEMS, [[0]], np.array([1])), CoOccurrenceConfig())
    counts = np.bincount(np.concatenate(NEXT), minlength=ITEMS)
    return Prior(counts, ServedModelConfig(candidate="co_occurrence", new_item_exposure=exposure), model, share=1.0)


def deployed(prior: Prior) -> ItemModelDeployment:
    return ItemModelDeployment("7", tiny_catalog(), history_items=3, prior=prior)


def served(deployment: Deployment, history: list[int], k: int, excluded: frozenset[int] = frozenset()) -> list[int]:
    [ranked] = deployment.rank([deployment.query(history, k, excluded)]) or []
    assert ranked.scores == sorted(ranked.scores, reverse=True)
    return ranked.items


def test_what_is_judged_is_what_is_served() -> None:
    prior = alone()
    judged = ItemModelAlone("alone", prior, ITEMS).recommend(HISTORIES, 5)
    deployment = deployed(prior)
    together = deployment.rank([deployment.query(history, 5) for history in HISTORIES]) or []
    for row, history in enumerate(HISTORIES):
        assert judged.items[row].tolist() == together[row].items == served(deployment, history, 5)
        assert judged.scores[row].tolist() == pytest.approx(together[row].scores, abs=1e-5)
    assert judged.items[0, 0] == 5  # after 4
    assert deployment.rank([deployment.query([4], 5)], unwanted=lambda: True) is None


def test_removed_and_excluded_items_are_never_ranked() -> None:
    deployment = deployed(alone())
    deployment.snapshot = deployment.edited(CatalogEdits(removed=frozenset({"i5"})))
    found = served(deployment, [4], ITEMS, frozenset({6, 4}))
    assert sorted(found) == sorted(set(range(ITEMS)) - {4, 5, 6})


def test_an_added_item_ranks_by_its_exposure_and_says_nothing_in_a_history() -> None:
    places = []
    for exposure in (0.1, 1e6):
        deployment = deployed(alone(exposure))
        deployment.snapshot = deployment.edited(CatalogEdits({"new": "A Title of its own"}))
        places.append(served(deployment, [4], ITEMS + 1).index(ITEMS))
        [ranked] = deployment.rank([deployment.query([ITEMS], 3)]) or []
        assert ranked.based_on == "popularity"  # nothing else is known of the user
    assert places[0] > 0
    assert places[1] == 0


def test_over_http_items_are_recommended_added_and_removed() -> None:
    with running(deployment=deployed(alone())) as (client, _):
        answer = client.post("/recommend", json={"history": ["i4"], "k": 2}).json()
        assert [item["item_id"] for item in answer["items"]] == ["i5", "i6"]
        assert (answer["model_version"], answer["based_on"]) == ("7", "history")
        assert client.post("/recommend", json={"history": [], "k": 2}).json()["based_on"] == "popularity"
        new = {"items": [{"item_id": "n1", "title": "A Title of its own"}]}
        assert client.post("/catalog/add", json=new, headers=ADMIN).status_code == 200
        assert client.post("/catalog/remove", json={"item_ids": ["i5"]}, headers=ADMIN).status_code == 200
        found = client.post("/recommend", json={"history": ["i4"], "k": 41}).json()["items"]
        assert "n1" in [item["item_id"] for item in found]
        assert "i5" not in [item["item_id"] for item in found]


def test_a_batch_is_answered_from_the_files_of_a_version_without_a_checkpoint(tmp_path: Path) -> None:
    tiny_catalog().save(tmp_path / "catalog")
    alone().save(tmp_path / "prior")
    search = SearchSettings(beams=4)
    deployment = load_deployment("7", None, tmp_path / "catalog", 3, search, prior=tmp_path / "prior")
    pd.DataFrame({"user_id": ["a", "b"], "history": [["i4"], []]}).to_parquet(tmp_path / "users.parquet")
    table = UserTable(path=tmp_path / "users.parquet")
    result = recommend_users(deployment, read_users(table), BatchConfig(users=table, k=2))
    first = result.recommendations.query("user_id == 'a'")
    assert first["item_id"].tolist() == ["i5", "i6"]
    assert set(result.recommendations["model_version"]) == {"7"}
    assert result.by_popularity == 1
    replace(alone(), share=0.5).save(tmp_path / "blend")  # of which the language model is missing
    with pytest.raises(RereError, match="language model or an item model"):
        load_deployment("8", None, tmp_path / "catalog", 3, search, prior=tmp_path / "blend")


def test_what_a_version_serves_is_told_in_a_word() -> None:
    prior = alone()
    assert (prior.serves, prior.alone) == ("co_occurrence", True)
    assert replace(prior, share=0.5).serves == "rl + co_occurrence"
    assert replace(prior, share=0.0, item_model=None).serves == "rl"


def test_a_blend_of_an_item_model_with_itself_is_refused() -> None:
    assert ServedModelConfig(candidate="best").item_model == "best"
    assert ServedModelConfig(blend=BlendConfig(item_model="ease")).item_model == "ease"
    with pytest.raises(ValueError, match="needs `blend: null`"):
        ServedModelConfig(candidate="ease", blend=BlendConfig())
