"""Items that nobody took yet in plain searches: read by their titles, boosted as asked, judged as they are served."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.config.served_model import NewItemsConfig, ServedModelConfig
from rere.models.backbone import load_model
from rere.models.item_tokens import embed_items
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.new_items import fitted_boost
from rere.recommenders.prior import Prior
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.live_catalog import CatalogEdits
from tests.conftest import TINY
from tests.serving.helpers import ADMIN, running, tiny_catalog, tiny_deployment

ITEMS = 40
COUNTS = np.array([0 if item in (3, 17) else 2 for item in range(ITEMS)])
HISTORIES = [[4], [1, 2, 3], [9, 8]]


def boosted(boost: float | None) -> Prior:
    return Prior(COUNTS, ServedModelConfig(new_items=NewItemsConfig()), boost=boost)


def served(deployment: GenerativeDeployment, history: list[int], k: int) -> dict[int, float]:
    [ranked] = deployment.rank([deployment.query(history, k)]) or []
    return dict(zip(ranked.items, ranked.scores, strict=True))


@pytest.mark.parametrize("boost", [0.1, 25.0])
def test_untouched_and_added_items_count_as_asked_and_others_as_before(boost: float) -> None:
    plain, raised = tiny_deployment(), tiny_deployment(prior=boosted(boost))
    for deployment in (plain, raised):
        deployment.snapshot = deployment.edited(CatalogEdits({"new": "A Title of its own"}))
    for history in HISTORIES:
        before, after = (served(deployment, history, ITEMS + 1) for deployment in (plain, raised))
        for item, score in before.items():
            extra = math.log(boost) if item in (3, 17, ITEMS) else 0.0
            assert after[item] == pytest.approx(score + extra, abs=1e-4)
        assert list(after.values()) == sorted(after.values(), reverse=True)


def test_what_is_judged_is_what_is_served() -> None:
    deployment = tiny_deployment(prior=boosted(30.0))
    judged = GenerativeRecommender("boosted", tiny_deployment().model, tiny_catalog(), beams=6)
    ranking = judged.with_prior(boosted(30.0)).recommend(HISTORIES, 5)
    for row, history in enumerate(HISTORIES):
        found = served(deployment, history, 5)
        assert ranking.items[row].tolist() == list(found)
        assert ranking.scores[row].tolist() == pytest.approx(list(found.values()), abs=1e-4)


def test_a_boost_survives_its_files_and_makes_another_model(tmp_path: Path) -> None:
    boosted(3.0).save(tmp_path / "prior")
    assert Prior.load(tmp_path / "prior").boost == 3.0
    assert len({boosted(boost).content() for boost in (None, 1.0, 3.0)}) == 3
    assert [boosted(boost).changes_searches for boost in (None, 1.0, 3.0)] == [False, True, True]


def weight_of(model: PreTrainedModel) -> torch.Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def of_item_tokens() -> tuple[CatalogIndex, PreTrainedModel, Prior]:
    """Two items of one title that nobody took: training has taught one of them that it is a wrong answer."""
    titles = ["Robot Car", "Doll House", "Robot Doll", "Robot Doll"]
    items = pd.DataFrame({"item_id": list("abcd"), "title": titles})
    catalog = build_index(items, IndexConfig.model_validate({"code": "item", "backbone": TINY}))
    base = load_model(TINY, len(catalog.tokenizer), 0).eval()
    embed_items(base, catalog, first=0)
    with torch.no_grad():
        weight = weight_of(base)
        weight[int(catalog.trie.item_tokens[2])] -= 1.0
        weight[int(catalog.trie.item_tokens[0])] += 0.5  # a vector that was learned from those who took it: it stays
    return catalog, base, Prior(np.array([5, 5, 0, 0]), ServedModelConfig(), boost=2.0)


def test_an_item_with_a_token_of_its_own_is_known_by_its_title_alone() -> None:
    catalog, base, prior = of_item_tokens()
    own = int(catalog.trie.item_tokens[2])
    taken = weight_of(base)[int(catalog.trie.item_tokens[0])].clone()
    deployment = GenerativeDeployment("1", TreeModel(base), catalog, 3, SearchSettings(beams=4), prior=prior)
    found = served(deployment, [0, 1], 4)
    assert found[2] == pytest.approx(found[3], abs=1e-5)
    weight = weight_of(base)
    torch.testing.assert_close(weight[own], weight[own + 1])
    torch.testing.assert_close(weight[int(catalog.trie.item_tokens[0])], taken)


def test_a_recommender_stays_as_it_is_beside_the_one_with_a_boost() -> None:
    catalog, base, prior = of_item_tokens()
    plain = GenerativeRecommender("plain", TreeModel(base), catalog, beams=4)
    weight = weight_of(base).clone()
    before = plain.recommend([[0, 1]], 4)
    boosted = plain.with_prior(prior)
    found = boosted.recommend([[0, 1]], 4)
    scores = dict(zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True))
    assert scores[2] == pytest.approx(scores[3], abs=1e-5)  # by their common title
    assert torch.equal(weight_of(base), weight)
    after = plain.recommend([[0, 1]], 4)
    assert (after.items.tolist(), after.scores.tolist()) == (before.items.tolist(), before.scores.tolist())
    layer = "layers.0.self_attn.q_proj"
    ours, theirs = (one.model.base.get_decoder().get_submodule(layer).weight for one in (plain, boosted))
    assert ours is theirs  # no second copy in memory


def test_a_boost_is_fitted_where_new_items_follow_and_none_where_it_would_cost_more() -> None:
    recommender = GenerativeRecommender("plain", tiny_deployment().model, tiny_catalog(), beams=10)
    histories = [[item] for item in range(20, 30)]
    first = recommender.recommend(histories, 1).items[:, 0]
    assert not {3, 17} & set(first.tolist())
    assert fitted_boost(recommender, boosted(None), histories, first) is None  # no target is new
    first[0] = 3
    assert fitted_boost(recommender, boosted(None), histories, first) is None  # it would cost nine others their place
    assert (fitted_boost(recommender, boosted(None), histories, np.array([3, 17] * 5)) or 0) > 1


def test_an_item_model_reads_no_titles() -> None:
    with pytest.raises(ValueError, match="`new_items` reads titles"):
        ServedModelConfig(candidate="ease", new_items=NewItemsConfig())


def test_over_http_a_boosted_item_comes_first_and_the_page_shows_no_shares() -> None:
    with running(deployment=tiny_deployment(prior=boosted(1e6))) as (client, _):
        answer = client.post("/recommend", json={"history": ["i4"], "k": 2}).json()
        assert {item["item_id"] for item in answer["items"]} == {"i3", "i17"}
        assert answer["based_on"] == "history"
        assert 'data-scores="weights"' in client.get("/").text
    with running(deployment=tiny_deployment(prior=boosted(None))) as (client, _):
        assert 'data-scores="probabilities"' in client.get("/").text


def of_code(code: object) -> GenerativeDeployment:
    """Eight items of which nobody took the last, whose probability counts a million times."""
    titles = [f"{'Robot Car' if n % 2 else 'Doll House'} {n}" for n in range(8)]
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(8)], "title": titles})
    catalog = build_index(items, IndexConfig.model_validate({"code": code, "backbone": TINY}))
    base = load_model(TINY, len(catalog.tokenizer), 0).eval()
    embed_items(base, catalog, first=0)
    prior = Prior(np.array([*[3] * 7, 0]), ServedModelConfig(), boost=1e6)
    return GenerativeDeployment("1", TreeModel(base), catalog, 3, SearchSettings(beams=4), prior=prior)


def first_ids(client: httpx.Client, k: int) -> set[str]:
    answer = client.post("/recommend", json={"history": ["i0"], "k": k, "seen": "exclude"}).json()
    return {item["item_id"] for item in answer["items"]}


@pytest.mark.parametrize("code", ["title", "prefix", "item"])
def test_an_item_is_added_removed_and_added_again_under_every_code_that_takes_new_ones(code: str) -> None:
    with running(deployment=of_code(code)) as (client, _):

        def change(what: str, body: dict[str, Any]) -> int:
            return client.post(f"/catalog/{what}", json=body, headers=ADMIN).status_code

        new = {"items": [{"item_id": "new", "title": "Robot House 53"}]}
        assert change("add", {"items": [{"item_id": "new"}]}) == 422  # a title is all that is known of it
        assert change("add", {"items": [{"item_id": "new", "title": " "}]}) == 422
        assert first_ids(client, 1) == {"i7"}
        assert change("add", new) == 200
        assert first_ids(client, 2) == {"i7", "new"}
        assert change("remove", {"item_ids": ["new"]}) == 200
        assert first_ids(client, 1) == {"i7"}
        assert "new" not in first_ids(client, 9)
        assert change("add", {"items": [{"item_id": "new", "title": "Another Name"}]}) == 409
        assert change("add", new) == 200
        assert first_ids(client, 2) == {"i7", "new"}
        assert client.post("/recommend", json={"history": ["new"], "k": 3}).json()["based_on"] == "history"


def test_an_item_that_the_code_cannot_take_is_refused_with_the_reason_and_changes_nothing() -> None:
    code = {"type": "semantic", "codewords": 4, "embedding": {"type": "tfidf", "dimensions": 2}}
    with running(deployment=of_code(code)) as (client, _):
        new = {"items": [{"item_id": "new", "title": "Robot House 53"}]}
        answer = client.post("/catalog/add", json=new, headers=ADMIN)
        assert (answer.status_code, "retrain" in answer.json()["detail"]) == (409, True)
        assert first_ids(client, 1) == {"i7"}
        assert "new" not in first_ids(client, 9)
