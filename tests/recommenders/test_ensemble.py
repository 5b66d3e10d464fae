"""The pool of log-probabilities against numbers worked by hand, and its weights against a search by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from rere.config.recommenders import ItemModelsConfig
from rere.errors import RereError
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.ease import EASEConfig
from rere.recommenders.ensemble import Ensemble, EnsembleConfig, mixture_shares, pool_weights
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels

SEQUENCES = [np.arange(first, first + 5) % 9 for first in range(9)]
DATA = FitData(SEQUENCES, 9, [[0, 1], [4], [7, 8]], [2, 5, 0])
SMALL = EnsembleConfig(members=("ease", "co_occurrence"), mixed=())


def popular(*counts: int) -> CoOccurrence:
    """A model that knows popularity only: counts + 1, as shares."""
    nothing = CoOccurrence.fit_weights(FitData([], len(counts), [], []), CoOccurrenceConfig())
    return CoOccurrence(nothing, np.array(counts), 0.0, CoOccurrenceConfig())


def cross_entropy(weights: np.ndarray, log_probs: np.ndarray, targets: np.ndarray) -> float:
    """By the book, in float64."""
    pooled = np.tensordot(weights, log_probs.astype(np.float64), axes=1)
    pooled -= np.log(np.exp(pooled).sum(1, keepdims=True))
    return -float(pooled[np.arange(len(targets)), targets].mean())


@pytest.fixture
def random() -> np.random.Generator:
    """The same numbers in each test, whichever tests ran before it in this process."""
    return np.random.default_rng(0)


def drawn(random: np.random.Generator, sharpness: float, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Logits of random rows over six items, and targets drawn from their softmax."""
    logits = sharpness * random.normal(size=(rows, 6))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits, np.array([random.choice(6, p=row) for row in shares])


def normalised(logits: np.ndarray) -> np.ndarray:
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def test_a_pool_multiplies_its_members_probabilities() -> None:
    members = {"ease": popular(4, 2, 1), "co_occurrence": popular(1, 2, 4)}  # shares 5:3:2 and 2:3:5
    pool = Ensemble(members, [1.0, 1.0], [], SMALL)
    np.testing.assert_allclose(np.exp(pool.log_probs([[]])[0]), np.array([10, 9, 10]) / 29, rtol=1e-6)
    sharp = Ensemble(members, [2.0, 0.0], [], SMALL)
    np.testing.assert_allclose(np.exp(sharp.log_probs([[]])[0]), np.array([25, 9, 4]) / 38, rtol=1e-6)


def test_the_weights_have_the_least_cross_entropy(random: np.random.Generator) -> None:
    truth, targets = drawn(random, 2.0)
    part = random.normal(size=truth.shape)
    log_probs = np.stack([normalised(part), normalised(truth / 2 - part)])  # each knows a part; (2, 2) is the truth
    found = pool_weights(log_probs, targets, "fitted")
    assert found == pytest.approx([2, 2], abs=0.5)
    least = cross_entropy(found, log_probs, targets)
    for step in ([0.02, 0], [-0.02, 0], [0, 0.02], [0, -0.02], [0.02, -0.02], [-0.02, 0.02]):
        assert cross_entropy(found + step, log_probs, targets) >= least


def test_a_calibrated_member_has_weight_one_a_blunt_one_more_and_noise_none(random: np.random.Generator) -> None:
    truth, targets = drawn(random, 2.0, rows=4000)
    noise = normalised(random.normal(size=truth.shape))
    found = pool_weights(np.stack([normalised(truth), noise]), targets, "fitted")
    assert found == pytest.approx([1, 0], abs=0.15)
    found = pool_weights(np.stack([normalised(truth / 2), noise]), targets, "fitted")
    assert found == pytest.approx([2, 0], abs=0.3)
    found = pool_weights(np.stack([normalised(-truth), noise]), targets, "fitted")
    assert found[0] == 0  # never a negative weight


def test_equal_weights_share_one_scale(random: np.random.Generator) -> None:
    truth, targets = drawn(random, 2.0)
    log_probs = np.stack([normalised(truth / 2), normalised(truth / 4 + random.normal(size=truth.shape))])
    found = pool_weights(log_probs, targets, "equal")
    assert found[0] == found[1] > 0
    least = cross_entropy(found, log_probs, targets)
    assert all(cross_entropy(found * scale, log_probs, targets) >= least for scale in (0.97, 1.03))
    assert cross_entropy(pool_weights(log_probs, targets, "fitted"), log_probs, targets) <= least


def test_what_is_mixed_in_adds_its_probabilities() -> None:
    config = EnsembleConfig(members=("ease", "co_occurrence"), mixed=("item_knn",))
    models = {"ease": popular(4, 2, 1), "co_occurrence": popular(1, 2, 4), "item_knn": popular(0, 0, 7)}
    mixture = Ensemble(models, [1.0, 0.0], [0.4], config)  # .6 of 5:3:2 and .4 of 1:1:8
    np.testing.assert_allclose(np.exp(mixture.log_probs([[]])[0]), [0.34, 0.22, 0.44], rtol=1e-6)
    without = Ensemble(models, [1.0, 0.0], [0.0], config)
    np.testing.assert_allclose(np.exp(without.log_probs([[]])[0]), [0.5, 0.3, 0.2], rtol=1e-6)


def test_shares_have_the_least_cross_entropy() -> None:
    """Two coins: the first names the target of 3 rows in 4 for sure, the second that of the fourth."""
    found = mixture_shares(np.log([[1.0, 0.01], [1.0, 0.01], [1.0, 0.01], [1e-9, 0.5]]))
    best = min(
        np.linspace(0, 1, 100_001), key=lambda s: -3 * np.log(1 - s + 0.01 * s) - np.log((1 - s) * 1e-9 + 0.5 * s)
    )
    np.testing.assert_allclose(found, [1 - best, best], atol=1e-4)
    np.testing.assert_array_equal(mixture_shares(np.log([[0.5, 1e-5], [0.4, 1e-5]])), [1, 0])  # not worth asking


def test_its_members_are_fitted_with_a_rivals_settings_and_come_back_with_it(tmp_path: Path) -> None:
    config = ItemModelsConfig(rivals=(EASEConfig(l2=7.0), SMALL))
    models = fit_item_models(DATA, config)
    assert list(models.models) == ["ease", "ensemble"]  # co-occurrence is a member only
    ensemble = models.models["ensemble"]
    assert isinstance(ensemble, Ensemble)
    assert ensemble.models["ease"] is models.models["ease"]
    assert ensemble.models["ease"].config.l2 == 7.0
    models.save(tmp_path / "all")
    models.only("ensemble").save(tmp_path / "alone")
    for directory in ("all", "alone"):
        back = ItemModels.load(tmp_path / directory)
        assert list(back.models) == (["ease", "ensemble"] if directory == "all" else ["ensemble"])
        again = back.models["ensemble"]
        assert np.array_equal(again.log_probs([[1, 2]]), ensemble.log_probs([[1, 2]]))
        assert (again.config, again.curves, again.content()) == (ensemble.config, ensemble.curves, ensemble.content())


def test_members_of_two_catalogues_are_refused() -> None:
    with pytest.raises(RereError, match="members of one catalogue"):
        Ensemble({"ease": popular(1, 2), "co_occurrence": popular(1, 2, 3)}, [1.0, 1.0], [], SMALL)


@pytest.mark.parametrize("members", [("ease", "ensemble"), ("ease", "eas"), ("ease", "ease"), ("ease",)])
def test_members_are_other_models_each_once(members: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="member"):
        EnsembleConfig(members=members)


def test_without_validation_rows_there_is_nothing_to_choose_by() -> None:
    fitted = {"ease": popular(1, 2), "caser": popular(2, 1)}
    with pytest.raises(RereError, match="validation rows"):
        Ensemble.fit(FitData([], 2, [], [], fitted), EnsembleConfig(members=("ease", "caser"), mixed=()))
