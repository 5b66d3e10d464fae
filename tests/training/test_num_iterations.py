"""Several optimiser steps per rollout: the clipped losses by hand and by loops, the steps themselves, and a kill."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.models.checkpoint import Checkpoint
from rere.training.rl.losses.base import ClippedLoss, Counts, LossInputs
from rere.training.rl.losses.dapo import DAPO
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.gspo import GSPO
from rere.training.rl.losses.registry import LOSSES
from rere.training.rl.train import train_rl
from tests.training.killed import Killed, killed_in_update

CLIPPED: list[ClippedLoss] = [GRPO(), DAPO(), GSPO(epsilon=0.1, epsilon_high=0.15)]
SETTINGS: dict[str, Any] = {
    "num_generations": 4,
    "prompts": 16,
    "device_batch_prompts": 8,
    "updates": 4,
    "learning_rate": 2e-3,
    "validate_every": 2,
    "checkpoint_every": 2,
    "rewards": ["rule", "ranking"],
    "ground_truth": "off",
    "normalisation": "vocab",
    "loss": "grpo",
}


def given(policy: torch.Tensor, old: torch.Tensor | None, advantages: torch.Tensor, lengths: list[int]) -> LossInputs:
    """One prompt's candidates of such lengths."""
    mask = torch.arange(policy.shape[2]) < torch.tensor(lengths)[None, :, None]
    return LossInputs(
        policy=policy,
        reference=policy.detach() - 0.3,
        mask=mask,
        nodes=torch.zeros(policy.shape, dtype=torch.int64),
        hits=torch.zeros(policy.shape[:2], dtype=torch.bool),
        reached=torch.zeros(1, dtype=torch.bool),
        reward=advantages,
        advantages=advantages,
        valid=torch.ones(policy.shape[:2], dtype=torch.bool),
        counts=Counts.of(mask),
        beta=0.1,
        old=old,
    )


def slow(loss: ClippedLoss, inputs: LossInputs) -> float:
    """The loss token by token, as TRL's documentation writes it."""
    assert inputs.old is not None
    sequences, tokens = [], []
    for candidate, keep in enumerate(inputs.mask[0].tolist()):
        logs = [float(inputs.policy[0, candidate, at] - inputs.old[0, candidate, at]) for at in range(sum(keep))]
        advantage = float(inputs.advantages[0, candidate])
        gap = -0.3
        penalty = inputs.beta * (math.exp(gap) - gap - 1)
        ratios = [math.exp(log) for log in logs]
        if isinstance(loss, GSPO):
            ratios = [math.exp(sum(logs) / len(logs))] * len(logs)
        own = []
        for ratio in ratios:
            held = min(max(ratio, 1 - loss.epsilon), 1 + loss.epsilon_high)
            own.append(min(ratio * advantage, held * advantage) - penalty)
        tokens += own
        sequences.append(sum(own) / len(own))
    every = tokens if isinstance(loss, DAPO) else sequences
    return -sum(every) / len(every)


@pytest.mark.parametrize("loss", CLIPPED, ids=lambda loss: loss.type)
def test_a_further_step_has_the_loss_of_a_loop_over_tokens(loss: ClippedLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    policy = -torch.rand((1, 4, 3), generator=generator, dtype=torch.float64)
    old = policy - 0.6 * (torch.rand((1, 4, 3), generator=generator, dtype=torch.float64) - 0.5)
    inputs = given(policy, old, torch.tensor([[1.5, -0.5, 0.2, -1.2]]), [3, 1, 2, 3])
    assert float(loss(inputs)) == pytest.approx(slow(loss, inputs), abs=1e-9)


@pytest.mark.parametrize("loss", CLIPPED, ids=lambda loss: loss.type)
def test_beyond_the_bound_nothing_is_gained(loss: ClippedLoss) -> None:
    """Four candidates of one token: ratios of 2 and 1/2, each with an advantage of 1 and of -1; no penalty."""
    old = torch.tensor([[2.0, 2.0, 0.5, 0.5]]).log()[:, :, None]
    policy = torch.zeros(1, 4, 1, requires_grad=True)
    own = given(policy, -old, torch.tensor([[1.0, -1.0, 1.0, -1.0]]), [1, 1, 1, 1])
    own = LossInputs(**{**own.__dict__, "beta": 0.0})
    value = loss(own)
    value.backward()
    assert float(value.detach()) == pytest.approx(-((1 + loss.epsilon_high) - 2 + 0.5 - (1 - loss.epsilon)) / 4)
    assert policy.grad is not None
    assert policy.grad.flatten().tolist() == pytest.approx([0.0, 2 / 4, -0.5 / 4, 0.0])


@pytest.mark.parametrize("loss", CLIPPED, ids=lambda loss: loss.type)
def test_the_first_step_is_what_it_was_without_clipping(loss: ClippedLoss) -> None:
    """With the rollout's own log-probabilities as the old ones, clipped or not: the same loss and gradient."""
    values, gradients = [], []
    for with_old in (False, True):
        policy = torch.linspace(-2, -1, 6).reshape(1, 2, 3).requires_grad_()
        old = policy.detach() if with_old else None
        value = loss(given(policy, old, torch.tensor([[1.0, -1.0]]), [3, 2]))
        value.backward()
        assert policy.grad is not None
        values.append(float(value.detach()))
        gradients.append(policy.grad)
    assert values[0] == values[1]
    assert torch.equal(gradients[0], gradients[1])


def weights_after(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, work: Path, **settings: Any
) -> dict[str, torch.Tensor]:
    config = RLConfig.model_validate({**SETTINGS, "keep": "last", **settings})
    checkpoint = train_rl(start, windows, catalog, config, work, log=lambda *_: None)
    state: dict[str, torch.Tensor] = checkpoint.load_model().state_dict()
    return state


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_each_rollout_has_several_steps_and_a_killed_run_makes_the_same(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = weights_after(start, world_windows, world_catalog, tmp_path / "whole", num_iterations=3)
    config = RLConfig.model_validate({**SETTINGS, "keep": "last", "num_iterations": 3})
    with pytest.raises(Killed):
        train_rl(start, world_windows, world_catalog, config, tmp_path / "killed", log=killed_in_update(3))
    again = weights_after(start, world_windows, world_catalog, tmp_path / "killed", num_iterations=3)
    assert farthest(whole, again) == 0
    facts = Checkpoint(tmp_path / "whole" / "model")
    assert facts.facts()["updates"] == 4
    rates = [record["learning_rate"] for record in facts.curves()[1:]]
    cosine = [(1 + math.cos(math.pi * step / 12)) / 2 for step in (0, 3, 6, 9)]  # three steps per update, of twelve
    assert [rate / config.learning_rate for rate in rates] == pytest.approx(cosine)


def test_gspo_is_no_grpo_once_a_rollout_has_several_steps(
    start: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    advantages = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    for old, same in ((None, True), (torch.full((1, 2, 3), -1.5, dtype=torch.float64), False)):
        gradients = []
        for loss in (GRPO(), GSPO()):
            policy = torch.linspace(-2, -1, 6, dtype=torch.float64).reshape(1, 2, 3).requires_grad_()
            loss(given(policy, old, advantages, [3, 2])).backward()
            gradients.append(policy.grad)
        assert torch.allclose(*gradients) == same  # type: ignore[arg-type]
    grpo, gspo = (
        weights_after(start, world_windows, world_catalog, tmp_path / loss, loss=loss, num_iterations=3)
        for loss in ("grpo", "gspo")
    )
    assert farthest(grpo, gspo) > 1e-4


@pytest.mark.parametrize("loss", [loss.type_name() for loss in LOSSES if not loss.clips])
def test_losses_without_a_clipped_ratio_take_one_step(loss: str) -> None:
    with pytest.raises(ValidationError, match=f"num_iterations: 2 goes with loss: grpo, dapo or gspo.*{loss}"):
        RLConfig.model_validate({"loss": loss, "num_iterations": 2, "ground_truth": "add"})
