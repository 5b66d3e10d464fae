"""The rows on which a stage is measured: which they are, what is recorded, and that measuring changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rere.catalog.index import CatalogIndex
from rere.config.rl import NewestRows, RLConfig
from rere.config.training import SequencePrefill
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.base import Ranking
from rere.training.probes import Probe, Probes
from rere.training.rl.group import Group
from rere.training.rl.policy import RLRun
from rere.training.rl.rewards.custom import CustomReward

SHORT = RLConfig.model_validate(
    {
        "num_generations": 4,
        "prompts": 16,
        "device_batch_prompts": 8,
        "updates": 4,
        "validate_every": 2,
        "learning_rate": 1e-2,
        "rewards": [{"type": "rule"}],
        "probe_rows": 20,
    }
)
TRAINED: list[Group] = []


def notes_rows(group: Group) -> torch.Tensor:
    TRAINED.append(group)
    return group.hits.float()


def run_of(start: Checkpoint, windows: Windows, catalog: CatalogIndex, work: Path, **changes: Any) -> RLRun:
    config = RLConfig.model_validate(SHORT.model_copy(update=changes).model_dump())
    return RLRun(start, windows, catalog, config, work / "progress", log=lambda *_: None, teacher=None)


def named(probe: Probe) -> set[tuple[str, int]]:
    """Rows by user and target: in the test's world nobody takes an item twice."""
    return set(zip(probe.users.tolist(), probe.targets.tolist(), strict=True))


@pytest.mark.parametrize(
    "changes",
    [{}, {"prefill": SequencePrefill(prompts=4)}, {"rows": NewestRows(share=0.3)}],
    ids=["window", "sequence", "newest"],
)
def test_seen_rows_are_trained_before_the_first_validation_and_unseen_ones_never(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, changes: dict[str, Any]
) -> None:
    reward = CustomReward(path=f"{__name__}:notes_rows")
    run = run_of(start, world_windows, world_catalog, tmp_path, rewards=(reward,), **changes)
    TRAINED.clear()
    run.train()
    order = [row for group in TRAINED for row in group.row_ids]
    assert len(order) == 4 * 16
    rows = world_windows.table.set_index("row_id")
    trained = [(rows.loc[row, "user_id"], world_catalog.index_of[str(rows.loc[row, "target"])]) for row in order]
    probes = run.probes.probes
    assert {name: len(probe.targets) for name, probe in probes.items()} == {"valid": 60, "seen": 20, "unseen": 20}
    assert named(probes["seen"]) <= set(trained[: 2 * 16])
    assert not named(probes["unseen"]) & set(trained)
    measured = [record for record in run.curves if "seen_ndcg@10" in record]
    assert [record["update"] for record in measured] == [0, 2, 4]
    assert all("unseen_ndcg@10" in record for record in measured)
    assert ["unseen_gain_error" in record for record in measured] == [False, True, True]


def test_where_every_row_is_visited_none_is_unseen(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    run = run_of(start, world_windows, world_catalog, tmp_path, updates=None, epochs=1, validate_every=30)
    assert run.probes.probes.keys() == {"valid", "seen"}


def test_measuring_changes_nothing_and_can_be_left_out(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    runs = []
    for probe_rows in (20, 0):
        runs.append(run_of(start, world_windows, world_catalog, tmp_path / str(probe_rows), probe_rows=probe_rows))
        runs[-1].train()
    with_probes, without = runs
    assert without.probes.probes.keys() == {"valid"}
    assert [r.get("valid_ndcg@10") for r in without.curves] == [r.get("valid_ndcg@10") for r in with_probes.curves]
    for ours, theirs in zip(with_probes.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gains_and_their_error_by_hand() -> None:
    """Rows of users a, a, b: NDCG 1, 0, 0 at first, then 1, 1, 0: gains 0, 1, 0 with mean 1/3.

    Users' sums of gain less mean: a 1/3, b -1/3. So the error is sqrt(2 / 1 * (1/9 + 1/9)) / 3 = 2/9.
    """

    class Lists:
        name = "lists"
        items = np.array([[0, 9], [9, 8], [9, 8]])

        def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
            return Ranking(self.items, np.zeros(self.items.shape, dtype=np.float32))

    lists = Lists()
    probes = Probes({"seen": Probe([[3]] * 3, np.array([0, 1, 2]), np.array(["a", "a", "b"], dtype=object))})
    assert probes.measure(lists) == {"seen_ndcg@10": pytest.approx(1 / 3)}
    assert probes.start_ranks == {"seen": [1, 0, 0]}
    resumed = Probes(probes.probes)
    resumed.start_ranks = probes.start_ranks
    lists.items = np.array([[0, 9], [1, 8], [9, 8]])
    expected = {"seen_ndcg@10": pytest.approx(2 / 3), "seen_gain_error": pytest.approx(2 / 9)}
    assert probes.measure(lists) == expected
    assert resumed.measure(lists) == expected
