"""Users of whom nothing is known: answered by popularity and marked as such, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rere.config.served_model import ServedModelConfig
from rere.errors import RereError
from rere.recommenders.prior import Prior
from rere.serving.batch import recommend_users
from rere.serving.config import BatchConfig, ServingConfig, UserTable
from rere.serving.engine.deployment import Deployment
from rere.serving.live_catalog import CatalogEdits
from rere.serving.users import read_users
from tests.serving.helpers import ADMIN, running, tiny_deployment

COUNTS = np.array([5, 0, 9, *[1] * 37])  # of the tiny catalogue's 40 items: i2, i0, then the others by index
CACHED = ServingConfig(cached_answers=8)


def welcoming(exposure: float = 0.1) -> Deployment:
    return tiny_deployment(prior=Prior(COUNTS, ServedModelConfig(new_item_exposure=exposure)))


def test_an_untouched_item_counts_as_the_setting_says() -> None:
    prior = Prior(np.array([3, 0, 1]), ServedModelConfig(new_item_exposure=0.5))
    found = prior.popularity(4).exp()  # one item was added while serving
    # The others' average is 1/2, of which an untouched item has half: 3/4, 1/4, 1/4 and 1/4 before they sum to 1.
    assert found.tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert Prior(np.zeros(3), ServedModelConfig()).popularity(4).exp().tolist() == pytest.approx([1 / 4] * 4)


def test_a_prior_is_stored_whole_and_of_one_catalogue(tmp_path: Path) -> None:
    prior = Prior(COUNTS, ServedModelConfig(cold_start="refuse"))
    prior.save(tmp_path / "prior")
    again = Prior.load(tmp_path / "prior")
    assert (again.counts.tolist(), again.config, again.content()) == (COUNTS.tolist(), prior.config, prior.content())
    assert Prior(COUNTS, ServedModelConfig()).content() != prior.content()
    with pytest.raises(RereError, match="catalogue's 40 items; got one of 3"):
        tiny_deployment(prior=Prior(np.ones(3), ServedModelConfig()))


def test_new_users_get_what_is_popular_over_http_and_it_says_so() -> None:
    with running(CACHED, welcoming()) as (client, _):
        for history in ([], ["no such"]):
            for _ in range(2):  # the second comes from memory
                answer = client.post("/recommend", json={"history": history, "k": 4, "exclude": ["i0"]}).json()
                assert [item["item_id"] for item in answer["items"]] == ["i2", "i3", "i4", "i5"]
                assert answer["based_on"] == "popularity"
                assert [entry["entry"] for entry in answer["unknown"]] == history
        scores = [item["score"] for item in answer["items"]]
        assert scores == pytest.approx(Prior(COUNTS, ServedModelConfig()).popularity(40)[[2, 3, 4, 5]].tolist())
        assert client.post("/recommend", json={"history": ["i1", "no such"]}).json()["based_on"] == "history"
        assert client.post("/catalog/remove", json={"item_ids": ["i2", "i4"]}, headers=ADMIN).status_code == 200
        answer = client.post("/recommend", json={"history": [], "k": 3}).json()
        assert [item["item_id"] for item in answer["items"]] == ["i0", "i3", "i5"]
        text = client.get("/metrics").text
        assert 'rere_answers_based_on_total{basis="popularity"} 5.0' in text
        assert 'rere_answers_based_on_total{basis="history"} 1.0' in text


def test_an_item_that_was_added_is_shown_to_new_users_as_much_as_asked() -> None:
    for exposure, place in ((30.0, 1), (0.1, None)):
        deployment = welcoming(exposure)
        deployment.snapshot = deployment.edited(CatalogEdits({"new": "A Title of its own"}, frozenset({"i1"})))
        [answer] = deployment.rank([deployment.query([], 5)]) or []
        ids = [deployment.snapshot.ids[item] for item in answer.items]
        assert (ids.index("new") + 1 if "new" in ids else None) == place


def test_new_users_and_others_share_a_batch() -> None:
    deployment = welcoming()
    queries = [deployment.query(history, 3) for history in ([4], [], [5, 6])]
    mixed = deployment.rank(queries) or []
    assert [one.based_on for one in mixed] == ["history", "popularity", "history"]
    for query, found in zip(queries, mixed, strict=True):
        [alone] = deployment.rank([query]) or []
        assert alone.items == found.items
        torch.testing.assert_close(alone.scores, found.scores)


def test_a_batch_answers_new_users_and_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pd.DataFrame({"user_id": ["a", "b", "c"], "history": [["i1"], [], ["gone"]]}).to_parquet(path)
    result = recommend_users(welcoming(), read_users(UserTable(path=path)), BatchConfig(k=2))
    result.require_rows()
    table = result.recommendations
    assert table[["user_id", "based_on"]].drop_duplicates().values.tolist() == [
        ["a", "history"],
        ["b", "popularity"],
        ["c", "popularity"],
    ]
    assert table.loc[table["user_id"] == "c", "item_id"].tolist() == ["i2", "i0"]
    assert result.by_popularity == 2
    assert len(result.unanswered) == 0


def test_a_table_of_other_peoples_ids_is_an_error_and_one_of_empty_histories_is_not(tmp_path: Path) -> None:
    """Popularity for everybody would hide that ids are written in another way."""
    path = tmp_path / "users.parquet"
    for histories, error in (([["x1"], ["x2"]], "at least one history that names a known item"), ([[], []], None)):
        pd.DataFrame({"user_id": ["a", "b"], "history": pd.Series(histories, dtype=object)}).to_parquet(path)
        result = recommend_users(welcoming(), read_users(UserTable(path=path)), BatchConfig(k=2))
        if error is None:
            result.require_rows()
        else:
            with pytest.raises(RereError, match=error):
                result.require_rows()


def test_where_new_users_are_refused_or_the_model_has_no_prior_nothing_is_made_up() -> None:
    for prior in (None, Prior(COUNTS, ServedModelConfig(cold_start="refuse"))):
        with running(CACHED, tiny_deployment(prior=prior)) as (client, _):
            assert client.post("/recommend", json={"history": []}).status_code == 404
