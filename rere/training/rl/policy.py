"""The policy in training: what a micro-batch of prompts adds to the gradient, and what an update reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from rere.catalog.index import CatalogIndex
from rere.config.rl import AlteredHistories, RLConfig
from rere.data.dataset import Windows
from rere.decoding.unconstrained import item_end
from rere.models.checkpoint import Checkpoint
from rere.models.tree_log_probs import GroupTree, group_tree
from rere.models.trunks import Prompts
from rere.recommenders.base import Recommender
from rere.recommenders.cross_fitted import folds_for, teacher_log_probs
from rere.runtime.launch import Log
from rere.training.loop import PROMPTS, PolicyRun, Tally
from rere.training.rl.advantages.base import Advantage
from rere.training.rl.candidate_counts import count_candidates, generated_keys, over_processes
from rere.training.rl.group_builder import GroupBuilder
from rere.training.rl.losses.base import Counts, Loss, LossInputs
from rere.training.rl.prompts import altered_history, chosen_windows
from rere.training.rl.rewards.total import total_reward, with_targets
from rere.training.rl.rollout import Rollout, rollout

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

COUNTED = "counted/"  # prefix of tallies that a loss asks for


class RLRun(PolicyRun[RLConfig]):
    """One training by RL; `teacher`: see `train_rl`."""

    name = "rl"
    bar_fields = ("reward", "groups_with_hit")
    means: ClassVar[Mapping[str, str]] = {
        "reward": "candidates",
        "groups_with_hit": PROMPTS,
        "frac_reward_zero_std": PROMPTS,
        "kl": "scored",  # tokens
        "diversity": "candidates",
        "invalid": "candidates",
        "duplicate": "candidates",
    }

    def __init__(
        self,
        start: Checkpoint,
        windows: Windows,
        catalog: CatalogIndex,
        config: RLConfig,
        progress: Path,
        *,
        log: Log,
        teacher: Recommender | None,
    ) -> None:
        super().__init__(start, windows, catalog, config, progress, log=log)
        self.normalisation, self.teacher = config.normalisation, teacher
        self.folds = folds_for(teacher, self.training.of("train")["user_id"])
        self.end = item_end(catalog) if config.generation == "unconstrained" else None
        device = self.tree_model.device
        self.rollouts: list[tuple[GroupTree, LossInputs]] = []  # of this update, where it has several steps
        self.builder = GroupBuilder(windows, self.training, self.targets, catalog, config, device=device)

    def training_windows(self) -> Windows:
        return chosen_windows(self.windows, self.config.rows)

    @property
    def steps_per_update(self) -> int:
        return self.config.num_iterations

    def after_update(self) -> None:
        self.rollouts.clear()
        if self.update % self.config.ref_model_sync_steps == 0:
            self.reference.sync(self.config.ref_model_mixup_alpha)

    def micro_step(self, rows: np.ndarray, count: int, tally: Tally) -> None:
        if not len(rows):
            over_processes(Counts(), frozenset(), tally)
            return
        config, histories = self.config, self._histories(rows)
        altered = isinstance(config.histories, AlteredHistories)
        prompts = self._altered_prompts(rows, histories) if altered else self.prompts(rows)
        targets = self.targets[rows].to(self.tree_model.device)
        found = self._rollout(rows, prompts, targets)
        candidates, items = found.candidates, found.items
        reached = (items == targets[:, None]).any(1)
        teacher_log_probs = self._teacher_log_probs(rows, histories) if config.asks_teacher else None
        if config.ground_truth == "add":
            candidates = items = with_targets(items, targets)
        tree = group_tree(found.trie, prompts, candidates, config.normalisation, self.tree_model.dtype)
        with self.reference.in_place(), self.precision():
            reference = self.scorer(tree)
        self.model.train()
        with self.precision():
            policy = self.scorer(tree)
        counts = over_processes(Counts.of(tree.mask), generated_keys(found), tally)
        valid = candidates >= 0
        scores = policy.detach().sum(2)
        group = self.builder.group(rows, items, valid, scores, histories=histories, teacher_log_probs=teacher_log_probs)
        reward = total_reward(config.rewards, group)
        assert isinstance(config.advantage, Advantage)
        assert isinstance(config.loss, Loss)
        advantages = config.advantage(reward, valid)
        scored = LossInputs(
            policy=policy,
            reference=reference,
            mask=tree.mask,
            nodes=tree.path,
            hits=group.hits,
            reached=reached,
            reward=reward,
            advantages=advantages,
            valid=valid,
            counts=counts,
            beta=config.beta,
        )
        loss = config.loss(scored) * counts.prompts / count
        loss.backward()
        if config.num_iterations > 1:
            self.rollouts.append((tree, replace(scored, policy=policy.detach())))
        for name, prompts_so in config.loss.counted(scored).items():
            tally[COUNTED + name] += prompts_so
        tally["loss"] += float(loss.detach())
        tally["reward"] += float((reward * valid).sum())
        tally["groups_with_hit"] += float(reached.sum())
        tally["frac_reward_zero_std"] += float((advantages.abs() < 1e-6).all(1).sum())
        tally["kl"] += float(scored.divergence.detach().sum())
        tally["scored"] += float(tree.mask.sum())
        tally["tokens"] += float(found.forwarded + 2 * len(tree.tokens))
        count_candidates(tally, found)

    def again(self, count: int, tally: Tally) -> None:
        """A further step on this update's rollouts, whose candidates, rewards and reference stay as they are."""
        assert isinstance(self.config.loss, Loss)
        self.model.train()
        for tree, first in self.rollouts:
            with self.precision():
                policy = self.scorer(tree)
            scored = replace(first, policy=policy, old=first.policy)
            (self.config.loss(scored) * first.counts.prompts / count).backward()
            tally["tokens"] += float(len(tree.tokens))

    def summary(self, tally: Tally) -> dict[str, float]:
        """And the shares of prompts that the loss counts."""
        counted = {name.removeprefix(COUNTED): sums for name, sums in tally.items() if name.startswith(COUNTED)}
        return super().summary(tally) | {name: sums / tally[PROMPTS] for name, sums in counted.items()}

    def _rollout(self, rows: np.ndarray, prompts: Prompts, targets: Int[Tensor, " P"]) -> Rollout:
        """Candidates of the policy without dropout."""
        self.model.eval()
        seed = self.draw_seed(rows)
        with self.precision():
            return rollout(self.tree_model, self.trie, prompts, targets, self.config, seed=seed, end=self.end)

    def _altered_prompts(self, rows: np.ndarray, histories: list[list[int]]) -> Prompts:
        draw = self.head_draw()
        return [self.catalog.prompt(own, draw(row)) for own, row in zip(histories, rows.tolist(), strict=True)]

    def _histories(self, rows: np.ndarray) -> list[list[int]]:
        """Item indices of each prompt, altered where the settings say so: a row at an update always in the same way."""
        config, found = self.config, [list(self.histories[row]) for row in rows]
        if not isinstance(config.histories, AlteredHistories):
            return found
        return [
            altered_history(own, config.histories, seed=(config.seed, self.update, row))
            for own, row in zip(found, rows.tolist(), strict=True)
        ]

    def _teacher_log_probs(self, rows: np.ndarray, histories: list[list[int]]) -> Float[Tensor, "P I"]:
        """(P, I) the teacher's log-probabilities of all items (nats)."""
        assert self.teacher is not None
        folds = None if self.folds is None else self.folds[rows]
        every = teacher_log_probs(self.teacher, histories, self.trie.items, folds)
        return every.to(self.tree_model.device, torch.float32)
