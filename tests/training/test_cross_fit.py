"""Fine-tuning and RL ask a cross-fitted teacher by the users whose histories they show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rere.catalog.index import CatalogIndex
from rere.config.catalog import IndexConfig
from rere.config.consistency import require_consistent
from rere.config.evaluation import EvaluationConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.recommenders import CrossFit, ItemModelsConfig
from rere.config.rl import AlteredHistories, RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import Distillation, SFTConfig
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.data.user_draws import fold_of
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.cross_fitted import CrossFitted
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels
from rere.runtime.launchers.local import LocalLauncher
from rere.training.rl.train import train_rl
from rere.training.rows import sequence_row
from rere.training.sft.inputs import collator, datasets_of
from rere.training.sft.train import train_sft
from tests.conftest import TINY, WORLD_ITEMS, a_gpu_each

RL = RLConfig.model_validate(
    {
        "num_generations": 4,
        "prompts": 30,
        "device_batch_prompts": 10,
        "updates": 2,
        "rewards": ["collaborative"],
        "validation_rows": 10,
    }
)


class Listening(CoOccurrence):
    """It keeps the histories that it is asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[tuple[int, ...]] = []

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        self.asked += map(tuple, histories)
        return super().log_probs(histories)


def teacher_of(folds: int) -> CrossFitted:
    """Members that differ: the k-th knows that item k follows item 0."""
    members = [
        Listening.fit(FitData([np.array([0, fold + 1])], WORLD_ITEMS, [[0]], [1]), CoOccurrenceConfig())
        for fold in range(folds)
    ]
    for member in members:
        member.asked.clear()
    return CrossFitted.of(members)


def asked(teacher: CrossFitted) -> list[set[tuple[int, ...]]]:
    return [set(member.asked) for member in teacher.members if isinstance(member, Listening)]


@pytest.fixture(scope="module")
def apart() -> Windows:
    """Users of the first fold walk through the first twelve items, those of the second through the others."""
    rows = []
    for number, user in enumerate(f"u{n}" for n in range(30)):
        first = 12 * int(fold_of([user], 2)[0])
        walk = [f"i{first + (number + step) % 12}" for step in range(9)]
        periods = ["train"] * 7 + ["valid"]
        rows += [(user, walk[max(0, end - 4) : end], walk[end], end, periods[end - 1]) for end in range(1, 9)]
    table = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"])
    return Windows(table.assign(row_id=np.arange(len(table)), warm=True), history_items=4)


def test_each_member_hears_of_its_folds_users_alone_in_altered_and_mixed_histories_too(
    apart: Windows, world_catalog: CatalogIndex
) -> None:
    teacher = teacher_of(2)
    config = SFTConfig(distillation=Distillation(altered_rows=3.0), sequence_items=8)
    train, _ = datasets_of(apart, world_catalog, config, teacher)
    rows = list(map(dict, train))
    collator(apart, world_catalog, config, ItemModels({"cross_fitted": teacher}))(rows)
    low, high = asked(teacher)
    assert {item for history in low for item in history} == set(range(12))
    assert {item for history in high for item in history} == set(range(12, 24))


def test_a_row_learns_what_its_folds_member_says(apart: Windows, world_catalog: CatalogIndex) -> None:
    teacher = teacher_of(2)
    config = SFTConfig(distillation=Distillation(altered_rows=0.0), sequence_items=8)
    batches = collator(apart, world_catalog, config, ItemModels({"cross_fitted": teacher}))
    row = {**sequence_row([0, 5], 1, world_catalog), "taught": 1.0}
    found = batches([{**row, "fold": 1}, {**row, "fold": 0}])["log_probs"]
    for answer, fold in zip(found, (1, 0), strict=True):
        assert int(answer.argmax()) == fold + 1
        said = teacher.members[fold].log_probs([[0]])[0]
        np.testing.assert_allclose(answer.numpy(), said, rtol=2e-3, atol=5e-3)  # as an answer is kept, in float16


@pytest.mark.parametrize("histories", ["real", "altered"])
def test_rl_asks_the_member_that_never_saw_the_rows_user(
    start: Checkpoint, apart: Windows, world_catalog: CatalogIndex, tmp_path: Path, histories: str
) -> None:
    config = RL
    if histories == "altered":
        config = RL.model_copy(update={"histories": AlteredHistories(share=1.0)})
    teacher = teacher_of(2)
    train_rl(start, apart, world_catalog, config, tmp_path, log=lambda *_: None, teacher=teacher)
    low, high = asked(teacher)
    assert low
    assert high
    assert max(item for history in low for item in history) < 12
    assert min(item for history in high for item in history) >= 12
    if histories == "real":
        seen = {tuple(own) for own in indexed_rows(apart.of("train"), world_catalog.index_of)[0]}
        assert low | high <= seen


@a_gpu_each
def test_both_stages_hand_it_to_their_processes(apart: Windows, world_catalog: CatalogIndex, tmp_path: Path) -> None:
    """As one process learns, two do."""
    weights = []
    members = [
        CoOccurrence.fit(FitData([np.array([0, fold + 1])], WORLD_ITEMS, [[0]], [1]), CoOccurrenceConfig())
        for fold in range(2)
    ]
    teacher = CrossFitted.of(members)
    for processes in (1, 2):
        launcher = LocalLauncher(processes=processes)
        sft = SFTConfig(
            distillation=Distillation(altered_rows=0.5), epochs=1, sequence_items=8, batch_tokens=200, launcher=launcher
        )
        work = tmp_path / str(processes)
        taught = ItemModels({"cross_fitted": teacher})
        tuned = train_sft(apart, world_catalog, TINY, sft, work / "sft", log=lambda *_: None, teacher=taught)
        rl = RL.model_copy(update={"launcher": launcher})
        made = train_rl(tuned, apart, world_catalog, rl, work / "rl", log=lambda *_: None, teacher=teacher)
        weights.append(made.load_model().cpu().state_dict())
    for name, weight in weights[0].items():
        np.testing.assert_allclose(weights[1][name].numpy(), weight.numpy(), atol=1e-3)


def test_cross_fitting_that_nobody_asks_for_is_refused() -> None:
    def settings(sft: dict[str, Any], rl: dict[str, Any], place: str | None) -> dict[str, Any]:
        return {
            "catalog": IndexConfig(),
            "sft": SFTConfig.model_validate(sft),
            "preference": None if place is None else PreferenceStageConfig.model_validate({"place": place}),
            "rl": RLConfig.model_validate(rl),
            "item_models": ItemModelsConfig(cross_fit=CrossFit()),
            "serving": ServedModelConfig(),
            "evaluation": EvaluationConfig(),
            "promotion": PromotionConfig(),
        }

    alone: dict[str, Any] = {"distillation": None}
    unasked: dict[str, Any] = {"rewards": ["rule"]}
    for sft, rl, place in ((alone, unasked, None), (alone, {}, "instead_of_rl")):
        with pytest.raises(RereError, match=r"item_models\.cross_fit.*nobody asks the teacher"):
            require_consistent(settings(sft, rl, place))
    require_consistent(settings({}, unasked, None))
    require_consistent(settings(alone, {}, "beside_rl"))
