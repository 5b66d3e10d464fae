"""DynamicPO, NAPO and negatives in common: by hand, and that each trains however it is run."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rere.catalog.index import CatalogIndex
from rere.config.preference import PreferenceConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.training.preference.in_batch import shared_negatives
from rere.training.preference.losses.base import PreferenceInputs
from rere.training.preference.losses.dynamic_po import DynamicPO, top_cluster
from rere.training.preference.losses.napo import NAPO
from rere.training.preference.losses.s_dpo import SDPO
from rere.training.preference.train import train_preference
from tests.conftest import a_gpu_each

QUICK = {
    "prompts": 16,
    "device_batch_prompts": 8,
    "updates": 2,
    "learning_rate": 2e-3,
    "validate_every": 2,
    "checkpoint_every": 2,
}


def given(policy: list[float], ratios: list[float], beta: float, valid: int | None = None) -> PreferenceInputs:
    """One prompt's scores, and their log-ratios to the reference; candidates from `valid` on aren't there."""
    scores = torch.tensor([policy], requires_grad=True)
    there = torch.arange(len(policy))[None] < (len(policy) if valid is None else valid)
    return PreferenceInputs(scores, scores.detach() - torch.tensor([ratios]), there, beta)


def test_a_candidate_that_is_not_there_counts_nothing() -> None:
    for loss in (SDPO(), DynamicPO(), NAPO()):
        fewer = given([-1.0, -2.0, -4.0], [0.3, 0.1, -0.2], 2.0)
        more = given([-1.0, -2.0, -4.0, 0.0], [0.3, 0.1, -0.2, 9.0], 2.0, valid=3)
        torch.testing.assert_close(loss(more), loss(fewer))
        loss(more).sum().backward()
        assert torch.isfinite(more.policy.grad).all()  # type: ignore[arg-type]
        assert more.policy.grad[0, 3] == 0  # type: ignore[index]


def test_napo_has_no_reference_and_a_margin() -> None:
    loss = NAPO(margin=1.0)(given([-1.0, -2.0, -4.0], [5.0, -5.0, 5.0], 2.0))
    # scores over the target's: -1 and -3; -log sigmoid(-log(e^-2 + e^-6) - 1) = log(1 + e (e^-2 + e^-6))
    assert loss.item() == pytest.approx(math.log(1 + math.e * (math.exp(-2) + math.exp(-6))))


def test_dynamic_po_takes_the_negatives_above_the_target() -> None:
    inputs = given([-2.0, -1.0, -2.5, -6.0], [0.5, 0.2, 0.0, 0.0], 2.0)
    loss = DynamicPO(margin=6.0)(inputs)
    # only the first outranks the target; the others' mean is -4.25: d1 = -2 + 1, d2 = -1 + 4.25
    beta = 2.0 * (1 + math.tanh((-1.0 - 3.25 - 6.0) / (1.0 + 3.25)) / 2)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(beta * (0.2 - 0.5))))
    loss.backward()
    # d/dr_j = beta · sigmoid(beta (r_j - r_0)); the factor itself carries no gradient
    share = beta / (1 + math.exp(-beta * (0.2 - 0.5)))
    torch.testing.assert_close(inputs.policy.grad, torch.tensor([[-share, share, 0.0, 0.0]]))


def test_dynamic_po_takes_the_highest_cluster_where_none_is_above_the_target() -> None:
    inputs = given([-0.5, -1.0, -9.0, -1.2, -5.0], [0.0, 0.1, 0.0, -0.1, 0.0], 1.0)
    loss = DynamicPO(margin=0.0)
    assert loss.boundary(inputs).tolist() == [[True, False, True, False]]  # clusters -1 and -1.2; -5; -9
    # the others' mean is -7: d1 = .5 and d2 = 6; d1 = .7 and d2 = 5.8
    betas = [1 + math.tanh((0.5 - 6.0) / 6.5) / 2, 1 + math.tanh((0.7 - 5.8) / 6.5) / 2]
    expected = math.log(1 + math.exp(betas[0] * 0.1) + math.exp(betas[1] * -0.1))
    assert loss(inputs).item() == pytest.approx(expected)


def test_the_clusters_are_the_best_ones() -> None:
    assert [top_cluster(np.array(values)) for values in ([3.0], [1.0, 2.0], [5.0] * 4)] == [3.0, 2.0, 5.0]
    random = np.random.default_rng(0)
    for _ in range(20):
        values = np.sort(random.normal(size=7))
        best = min(
            itertools.combinations(range(1, 7), 2),
            key=lambda cuts: sum(((part - part.mean()) ** 2).sum() for part in np.split(values, cuts)),
        )
        assert top_cluster(random.permutation(values)) == values[best[1]]


def test_shared_negatives_are_of_the_most_similar_users() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    negatives = torch.tensor([[7, 4], [9, 3], [7, 5]])
    candidates = torch.tensor([[5, 9, 3], [1, 7, 5]])  # of the second and the third prompt
    found = shared_negatives(candidates, vectors[1:], negatives, vectors, first=1, share=0.5)
    # the second is like the third (.6, 0), whose 5 is its target; the third like the first (.8, .6), whose 7 it has
    assert found.tolist() == [[7, -1], [-1, 4]]
    every = shared_negatives(candidates, vectors[1:], negatives, vectors, first=1, share=1.0)
    assert every.tolist() == [[7, -1, -1, 4], [-1, 4, 9, 3]]


def settings(**changes: Any) -> PreferenceConfig:
    return PreferenceConfig.model_validate(QUICK | changes)


@pytest.mark.parametrize("prefill", [{"type": "window"}, {"type": "sequence", "prompts": 5}], ids=lambda p: p["type"])
@pytest.mark.parametrize(
    "choice",
    [
        {"loss": "dynamic_po", "negatives": 6},
        {"loss": "napo", "in_batch": {"type": "similar_users", "share": 0.5}},
        {"loss": "s_dpo", "in_batch": {"type": "similar_users"}, "source": "beam"},
    ],
    ids=lambda choice: choice["loss"],
)
def test_each_trains_by_windows_and_by_sequence(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    choice: dict[str, Any],
    prefill: dict[str, Any],
) -> None:
    config = settings(prefill=prefill, **choice)
    checkpoint = train_preference(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None)
    records = [record for record in checkpoint.curves() if "loss" in record]
    assert len(records) == 2
    assert all(record["gradient_norm"] > 0 for record in records)
    own = config.negatives
    assert all((record["negatives"] > own) == ("in_batch" in choice) for record in records)


@a_gpu_each
def test_two_processes_share_the_negatives_of_one(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    """Of five prompts per forward, one process has three and the other two; of a single one, the other has none."""
    sharing = {"in_batch": {"type": "similar_users"}, "loss": "napo", "device_batch_prompts": 5}
    one, two = (
        train_preference(
            start,
            world_windows,
            world_catalog,
            settings(launcher={"type": "local", "processes": processes}, **sharing),
            tmp_path / str(processes),
            log=lambda *_: None,
        )
        for processes in (1, 2)
    )
    for ours, theirs in zip(two.curves()[1:], one.curves()[1:], strict=True):  # after the start's validation
        for name in ("loss", "negatives", "margin", "gradient_norm"):  # the second update has the first one's weights
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5)
