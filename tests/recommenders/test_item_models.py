"""What every registered item model promises beyond ranking: it is a distribution, and comes back from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rere.config.recommenders import ItemModelsConfig
from rere.errors import RereError
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import ITEM_MODELS, model_type

SEQUENCES = [np.arange(first, first + 6) % 12 for first in range(12)]
TITLES = [f"part {n // 2} of {n % 3}" for n in range(12)]
DATA = FitData(SEQUENCES, 12, [[0, 1], [4], [7, 8]], [2, 5, 9], titles=TITLES)
HISTORIES = [[0, 1, 2], [3], [2, 2, 5, 1, 0, 4, 3], [1, 4]]
NETWORK: dict[str, Any] = {"width": 8, "epochs": 2, "history_items": 4}
SMALL: dict[str, dict[str, Any]] = {
    "sasrec": NETWORK | {"layers": 1, "heads": 1, "feed_forward": 8},
    "gru4rec": NETWORK,
    "caser": NETWORK | {"vertical": 1, "horizontal": 2},
    "ensemble": {"members": ["ease", "co_occurrence"]},
}


@pytest.fixture(scope="module", params=ITEM_MODELS)
def model(request: pytest.FixtureRequest) -> ItemModel:
    settings = {"type": request.param, **SMALL.get(request.param, {})}
    config = ItemModelsConfig.model_validate({"rivals": [settings]})
    return fit_item_models(DATA, config).models[request.param]


def test_its_log_probabilities_are_a_distribution(model: ItemModel) -> None:
    log_probs = model.log_probs(HISTORIES)
    assert log_probs.shape == (4, 12)
    assert log_probs.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)


def test_it_ranks_by_them(model: ItemModel) -> None:
    ranking = model.recommend(HISTORIES, 3)
    log_probs = model.log_probs(HISTORIES)
    np.testing.assert_allclose(ranking.scores, np.take_along_axis(log_probs, ranking.items, axis=1), atol=1e-5)
    np.testing.assert_allclose(ranking.scores, -np.sort(-log_probs, axis=1)[:, :3], atol=1e-5)


def test_saved_and_loaded_it_is_the_same(model: ItemModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    back = model_type(model.kind()).load(tmp_path)
    assert np.array_equal(back.log_probs(HISTORIES), model.log_probs(HISTORIES))
    assert (back.name, back.config, back.curves) == (model.name, model.config, model.curves)
    assert back.content() == model.content()


def test_an_altered_file_is_refused(model: ItemModel, tmp_path: Path) -> None:
    ItemModels({model.kind(): model}).save(tmp_path)
    path = tmp_path / f"{model.kind()}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RereError, match="altered"):
        ItemModels.load(tmp_path)


def test_its_validation_score_is_on_record(model: ItemModel) -> None:
    assert model.best_score() == pytest.approx(DATA.score(model))


def test_other_data_are_other_content(model: ItemModel) -> None:
    config = model.config
    other = replace(DATA, sequences=[sequence[:4] for sequence in SEQUENCES], titles=TITLES[::-1])
    again = fit_item_models(other, ItemModelsConfig(rivals=(config,))).models[model.kind()]
    assert again.content() != model.content()
