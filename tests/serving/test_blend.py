"""An item model's part in every search: what is judged is what is served, against all items scored one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rere.config.served_model import BlendConfig, ServedModelConfig
from rere.errors import RereError
from rere.recommenders.blend import fitted_share
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.item_model import FitData
from rere.recommenders.prior import Prior
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.live_catalog import CatalogEdits
from tests.serving.helpers import tiny_catalog, tiny_deployment

ITEMS = 40
NEXT = [np.array([item, (item + 1) % ITEMS, (item + 2) % ITEMS]) for item in range(0, ITEMS, 2)]
HISTORIES = [[4], [1, 2, 3], [9, 8]]


def blend(share: float, exposure: float = 0.1, item_counts: np.ndarray | None = None) -> Prior:
    """What follows in the catalogue's order, as an item model."""
    data = FitData(NEXT, ITEMS, [[0]], np.array([1]))
    counts = np.bincount(np.concatenate(NEXT), minlength=ITEMS) if item_counts is None else item_counts
    config = ServedModelConfig(new_item_exposure=exposure, blend=BlendConfig())
    return Prior(counts, config, CoOccurrence.fit(data, CoOccurrenceConfig()), share)


def alone(deployment: GenerativeDeployment, history: list[int]) -> torch.Tensor:
    """(I,) the language model's log-probability of every item of the present catalogue."""
    size = len(deployment.snapshot.ids)
    plain = GenerativeDeployment("plain", deployment.model, deployment.snapshot.catalog, 3, deployment.search)
    [ranked] = plain.rank([plain.query(history, size)]) or []
    return torch.tensor(ranked.scores)[torch.tensor(ranked.items).argsort()].double()


def served(deployment: GenerativeDeployment, history: list[int], k: int) -> tuple[list[int], list[float]]:
    [ranked] = deployment.rank([deployment.query(history, k)]) or []
    return ranked.items, ranked.scores


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_what_is_served_is_the_weighted_sum_over_all_items(share: float) -> None:
    prior = blend(share)
    deployment = tiny_deployment(prior=prior)
    for history in HISTORIES:
        opinion = prior.log_probs([history], ITEMS)[0]
        scores, order = ((1 - share) * alone(deployment, history) + share * opinion).sort(descending=True)
        items, found = served(deployment, history, ITEMS)
        assert items == order.tolist()
        torch.testing.assert_close(torch.tensor(found).double(), scores, atol=1e-4, rtol=0)


def test_what_is_judged_is_what_is_served() -> None:
    prior = blend(0.5)
    deployment = tiny_deployment(prior=prior)
    plain = GenerativeRecommender("blend", deployment.model, tiny_catalog(), beams=6)
    ranking = plain.with_prior(prior).recommend(HISTORIES, 5)
    for row, history in enumerate(HISTORIES):
        items, scores = served(deployment, history, 5)
        assert ranking.items[row].tolist() == items
        assert ranking.scores[row].tolist() == pytest.approx(scores, abs=1e-4)


def test_a_blend_survives_its_files(tmp_path: Path) -> None:
    prior = blend(0.4)
    prior.save(tmp_path / "prior")
    again = Prior.load(tmp_path / "prior")
    assert (again.share, again.content()) == (0.4, prior.content())
    torch.testing.assert_close(again.log_probs(HISTORIES, ITEMS), prior.log_probs(HISTORIES, ITEMS))
    assert replace(prior, share=0.5).content() != prior.content()
    with pytest.raises(RereError, match="got one of 3"):
        GenerativeRecommender("blend", tiny_deployment().model, tiny_catalog()).with_prior(
            Prior(np.ones(3), prior.config)
        )


def test_an_added_item_counts_with_its_exposure_also_in_a_history() -> None:
    """The item model doesn't know it: as a candidate it has its exposure, as a history it says nothing."""
    found_scores = []
    for exposure in (0.1, 1e6):
        prior = blend(0.5, exposure)
        deployment = tiny_deployment(prior=prior)
        deployment.snapshot = deployment.edited(CatalogEdits({"new": "A Title of its own"}))
        found = prior.log_probs([[4], [ITEMS]], ITEMS + 1).exp()
        old = found[:, :ITEMS].mean(1)
        torch.testing.assert_close(found[:, ITEMS], exposure * old)
        torch.testing.assert_close(found[1], prior.popularity(ITEMS + 1).exp())
        items, scores = served(deployment, [4], ITEMS + 1)
        assert len(set(items)) == ITEMS + 1
        found_scores.append(scores[items.index(ITEMS)] - 0.5 * float(found[0, ITEMS].log()))
        assert served(deployment, [ITEMS], 5)[0]
    assert items[0] == ITEMS
    assert found_scores[0] == pytest.approx(found_scores[1], abs=1e-3)  # the rest of its score is the language model's


def test_the_share_is_fitted_where_the_item_model_is_right_and_none_where_it_is_wrong() -> None:
    deployment = tiny_deployment()
    histories = [[item] for item in range(0, ITEMS, 2)]
    right = np.array([(item + 1) % ITEMS for [item] in histories])
    plain = GenerativeRecommender("plain", deployment.model, tiny_catalog(), beams=10)
    assert fitted_share(plain, blend(0.0), histories, right) > 0
    first = plain.recommend(histories, 1).items[:, 0]  # targets that the language model always has first
    assert fitted_share(plain, blend(0.0), histories, first) == 0
