"""A cross-fitted teacher answers for each user by what was fitted without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rere.config.recommenders import ItemModelsConfig
from rere.data.user_draws import fold_of
from rere.errors import RereError
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.cross_fitted import CrossFitted, folds_for, teacher_log_probs
from rere.recommenders.fitting import fit_item_models, fit_teacher
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.item_models import ItemModels

USERS = [f"u{n}" for n in range(12)]
FOLDS = fold_of(USERS, 3)
SEQUENCES = [np.arange(first, first + 6) % 12 for first in range(12)]
DATA = FitData(SEQUENCES, 12, [[0, 1], [4], [7, 8]], [2, 5, 9], titles=[f"the {n}th" for n in range(12)], users=USERS)
NETWORK = {"type": "gru4rec", "width": 8, "epochs": 1, "history_items": 4}
ENSEMBLE = {"type": "ensemble", "members": ["gru4rec", "co_occurrence"], "mixed": []}
HISTORIES = [[0, 1, 2], [3], [5, 6]]


def config_of(*rivals: object, teacher: str, processes: int = 1, folds: int = 3) -> ItemModelsConfig:
    launcher = {"type": "local", "processes": processes}
    given = {"rivals": rivals, "teacher": teacher, "cross_fit": {"folds": folds}, "launcher": launcher}
    return ItemModelsConfig.model_validate(given)


def cross_fitted(data: FitData, config: ItemModelsConfig, work: Path | None = None) -> ItemModel:
    return fit_teacher(data, fit_item_models(data, config), config, work).alone()


def test_its_answer_is_that_of_the_model_fitted_without_the_fold() -> None:
    teacher = cross_fitted(DATA, config_of("co_occurrence", teacher="co_occurrence"))
    assert isinstance(teacher, CrossFitted)
    assert folds_for(teacher, USERS).tolist() == FOLDS.tolist()  # type: ignore[union-attr]
    for fold in range(3):
        others = [sequence for sequence, own in zip(SEQUENCES, FOLDS, strict=True) if own != fold]
        assert len(others) < 12
        without = CoOccurrence.fit(FitData(others, 12, [[0]], [1]), CoOccurrenceConfig())
        asked = teacher.log_probs_without(HISTORIES, [fold] * 3)
        np.testing.assert_array_equal(asked, without.log_probs(HISTORIES))
    every = [teacher.log_probs_without(HISTORIES, [fold] * 3) for fold in range(3)]
    assert not np.allclose(every[0], every[1])
    mixed = teacher_log_probs(teacher, HISTORIES, 12, np.array([2, 0, 2])).numpy()
    np.testing.assert_array_equal(mixed, np.stack([every[2][0], every[0][1], every[2][2]]))


def test_what_one_user_alone_did_isnt_told_to_that_user() -> None:
    """Everybody goes from 0 to 1, but one who goes from 0 to 11."""
    odd = USERS[0]
    sequences = [np.array([0, 11] if user == odd else [0, 1]) for user in USERS]
    data = FitData(sequences, 12, [[0]], [1], users=USERS)
    config = config_of("co_occurrence", teacher="best")
    by_heart = fit_teacher(data, fitted := fit_item_models(data, config), config.model_copy(update={"cross_fit": None}))
    learned = by_heart.alone().log_probs([[0]])[0]
    assert learned[11] > learned[2] + 1  # what the one did, against what nobody did
    teacher = fit_teacher(data, fitted, config).alone()
    own, other = (teacher_log_probs(teacher, [[0]], 12, [fold])[0] for fold in (FOLDS[0], (FOLDS[0] + 1) % 3))
    assert float(own[11]) == pytest.approx(float(own[2]))  # for that user it is like any item that nobody took
    assert float(other[11]) == pytest.approx(float(other[2]) + float(learned[11] - learned[2]), abs=0.5)


def test_an_ensemble_is_fitted_anew_with_all_its_members_side_by_side_too(tmp_path: Path) -> None:
    config = config_of(NETWORK, ENSEMBLE, teacher="ensemble", folds=2)
    found = cross_fitted(DATA, config)
    assert isinstance(found, CrossFitted)
    for fold in range(2):
        part = DATA.without(fold, 2)
        assert part.users == [user for user, own in zip(USERS, fold_of(USERS, 2), strict=True) if own != fold]
        alone = fit_item_models(part, config.model_copy(update={"cross_fit": None})).models["ensemble"]
        np.testing.assert_allclose(
            found.log_probs_without(HISTORIES, [fold] * 3), alone.log_probs(HISTORIES), atol=1e-5
        )
    both = cross_fitted(DATA, config_of(NETWORK, ENSEMBLE, teacher="ensemble", folds=2, processes=2), tmp_path)
    assert isinstance(both, CrossFitted)
    for fold in range(2):
        first, second = (one.log_probs_without(HISTORIES, [fold] * 3) for one in (found, both))
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_it_comes_back_from_disk_and_its_content_is_that_of_its_members(tmp_path: Path) -> None:
    config = config_of("co_occurrence", teacher="best")
    teacher = fit_teacher(DATA, fit_item_models(DATA, config), config)
    teacher.save(tmp_path / "teacher")
    back, first = ItemModels.load(tmp_path / "teacher").alone(), teacher.alone()
    assert isinstance(back, CrossFitted)
    assert isinstance(first, CrossFitted)
    assert back.content() == first.content()
    np.testing.assert_array_equal(
        back.log_probs_without(HISTORIES, [0, 1, 2]), first.log_probs_without(HISTORIES, [0, 1, 2])
    )
    assert CrossFitted.of(first.members[::-1]).content() != first.content()
    assert [record["fold"] for record in first.curves] == [0, 1, 2]


def test_nobody_gets_an_answer_who_doesnt_say_whose_history_it_is() -> None:
    teacher = cross_fitted(DATA, config_of("co_occurrence", teacher="best"))
    with pytest.raises(RereError, match="folds of the histories' users"):
        teacher_log_probs(teacher, HISTORIES, 12, None)
    with pytest.raises(RereError, match="folds of the histories' users"):
        teacher.recommend(HISTORIES, 3)


def test_a_fold_without_users_is_refused() -> None:
    config = config_of("co_occurrence", teacher="best", folds=40)
    with pytest.raises(RereError, match=r"users in each of the 40 folds.*12 users.*fewer folds"):
        fit_teacher(DATA, fit_item_models(DATA, config), config)


def test_a_teacher_that_isnt_cross_fitted_is_asked_as_ever() -> None:
    config = ItemModelsConfig.model_validate({"rivals": ["co_occurrence"]})
    teacher = fit_teacher(DATA, fit_item_models(DATA, config), config).alone()
    assert isinstance(teacher, CoOccurrence)
    assert folds_for(teacher, USERS) is None
    np.testing.assert_allclose(teacher_log_probs(teacher, HISTORIES, 12, None), teacher.log_probs(HISTORIES), rtol=1e-6)
