"""ReRe: reinforcement learning on the model's own constrained beams (arXiv 2510.12211).

An update: G items per prompt by constrained beam search; rewards by hit and by the rank of the score; group
advantages; a policy gradient with a k3 penalty to a reference that is synced regularly. Targets are item ids of their
row, so no label is looked up by text and no validation label can leak in.

Departs from the paper's code: candidates are scored as one token tree per prompt (same numbers); training
prompts are seen once per epoch in an order that depends on the seed only, so a resumed run and any number
of devices see the same order; the best validation NDCG@10 is kept, and the start counts as a candidate.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rere.artifacts.manifest import is_sealed, verify
from rere.catalog.index import CatalogIndex
from rere.catalog.item_vectors import item_vectors
from rere.config.rl import AlteredHistories, RLConfig
from rere.data.dataset import Windows
from rere.data.stretches import stretch_ends
from rere.decoding.unconstrained import item_end
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.tree_log_probs import group_tree
from rere.recommenders.base import Recommender
from rere.recommenders.item_model import item_log_probs
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.training.loop import SCORE, PolicyRun, Tally
from rere.training.rl.advantages.base import Advantage
from rere.training.rl.group import Group, ItemFacts
from rere.training.rl.losses.base import Counts, Loss, LossInputs
from rere.training.rl.processes import received, rl_in_processes
from rere.training.rl.prompts import altered_history, chosen_windows
from rere.training.rl.rewards.total import check_rewards, score_ranks, total_reward, with_targets
from rere.training.rl.rollout import Rollout, rollout
from rere.training.rows import stretches

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

__all__ = ["SCORE", "train_rl"]

COUNTED = "counted/"  # prefix of tallies that a loss asks for


def train_rl(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    work: Path,
    *,
    log: Log,
    teacher: Recommender | None = None,
) -> Checkpoint:
    """Train further from `start`; resumes a run found in `work`.

    Args:
        teacher: the item model whose probabilities are a collaborative reward; its scores are log-probabilities up
            to a constant per row.

    Returns:
        The kept policy (see `RLConfig.keep`), adapters merged, sealed; `curves` has one record per update.

    Raises:
        RereError: no training or validation rows, an altered start, a collaborative reward without a teacher, a
            custom reward that can't be imported, prompts that don't fit into the model's context, unconstrained
            generation over items without an end, weights that diverge, or a process that failed.
    """
    if teacher is None and config.asks_teacher:
        raise RereError("an item model for the collaborative reward", "none", "pass `teacher`, or leave the reward out")
    if not distributed.is_worker():
        check_rewards(config.rewards, catalog.column_kinds)
    result = work / "model"
    if is_sealed(result):  # killed between training and storing: already trained
        verify(result)
        return Checkpoint(result)
    if config.launcher.starts_workers and not distributed.is_worker():
        return rl_in_processes(
            f"{__name__}:worker", start, windows, catalog, config, work=work, log=log, teacher=teacher
        )
    run = _Run(start, windows, catalog, config, work / "progress", log=log, teacher=teacher)
    run.train()
    return run.finish(result, config.keep)


def worker(spec: dict[str, Any], log: Log) -> None:
    """Run one of several processes."""
    train_rl(**received(spec), log=log)


class _Run(PolicyRun[RLConfig]):
    name = "rl"
    bar_fields = ("reward", "groups_with_hit")

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
        self.end = item_end(catalog) if config.generation == "unconstrained" else None
        every_target = torch.tensor([catalog.index_of[item] for item in windows.of("train")["target"]])
        popularity = torch.bincount(every_target, minlength=len(catalog.item_ids))
        self.item_facts = ItemFacts.of(catalog, popularity)
        train = self.training.of("train")
        self.row_ids = train["row_id"].to_numpy()
        self.stretch_ends = stretch_ends(train, windows.history_items) if config.asks_following else None
        self.vectors: torch.Tensor | None = None
        for reward in config.rewards:
            if reward.item_vectors is not None:
                every = stretches(windows.of("train"), catalog, windows.history_items)
                sequences = [np.array(context + targets) for context, targets in every]
                vectors = item_vectors(catalog.titles, reward.item_vectors, sequences, config.seed)
                self.vectors = torch.from_numpy(vectors).to(self.tree_model.device)

    def training_windows(self) -> Windows:
        return chosen_windows(self.windows, self.config.rows)

    def after_update(self) -> None:
        if self.update % self.config.ref_model_sync_steps == 0:
            self.reference.sync(self.config.ref_model_mixup_alpha)

    def micro_step(self, rows: np.ndarray, count: int, tally: Tally) -> None:
        if not len(rows):
            _over_processes(Counts(), frozenset(), tally)
            return
        config, histories = self.config, self._histories(rows)
        altered = isinstance(config.histories, AlteredHistories)
        prompts = [self.catalog.prompt(own) for own in histories] if altered else self.prompts(rows)
        targets = self.targets[rows].to(self.tree_model.device)
        self.model.eval()  # candidates are sampled from the policy without dropout
        seed = int(np.random.SeedSequence((config.seed, self.update, int(rows[0]))).generate_state(1)[0])
        with self.precision():
            found = rollout(self.tree_model, self.trie, prompts, targets, config, seed=seed, end=self.end)
        candidates, items = found.candidates, found.items
        reached = (items == targets[:, None]).any(1)
        teacher_log_probs = self._teacher_log_probs(histories) if config.asks_teacher else None
        if config.ground_truth == "add":
            candidates = items = with_targets(items, targets)
        tree = group_tree(found.trie, prompts, candidates, config.normalisation, self.tree_model.dtype)
        with self.reference.in_place(), self.precision():
            reference = self.scorer(tree)
        self.model.train()
        with self.precision():
            policy = self.scorer(tree)
        counts = _over_processes(Counts.of(tree.mask), _generated(found), tally)
        valid = candidates >= 0
        scores = policy.detach().sum(2)
        group = self._group(
            rows, items, valid, targets, scores, histories=histories, teacher_log_probs=teacher_log_probs
        )
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
            reward=reward,
            advantages=advantages,
            valid=valid,
            counts=counts,
            beta=config.beta,
        )
        loss = config.loss(scored) * counts.prompts / count
        loss.backward()
        for name, prompts_so in config.loss.counted(scored).items():
            tally[COUNTED + name] += prompts_so
        tally["loss"] += float(loss.detach())
        tally["reward"] += float((reward * valid).sum())
        tally["hits"] += float(reached.sum())
        tally["silent"] += float((advantages.abs() < 1e-6).all(1).sum())
        tally["kl"] += float(scored.divergence.detach().sum())
        tally["scored"] += float(tree.mask.sum())
        tally["tokens"] += float(found.forwarded + 2 * len(tree.tokens))
        _count(tally, found)

    def summary(self, tally: Tally, count: int) -> dict[str, float]:
        """Means; groups_… and frac_… are shares of prompts; diversity, invalid and duplicate of candidates."""
        made = max(tally["candidates"], 1.0)
        return {
            "loss": tally["loss"],
            "reward": tally["reward"] / made,
            "groups_with_hit": tally["hits"] / count,
            "frac_reward_zero_std": tally["silent"] / count,
            "kl": tally["kl"] / max(tally["scored"], 1.0),
            "diversity": tally["distinct"] / made,
            "invalid": tally["invalid"] / made,
            "duplicate": tally["duplicate"] / made,
            **{key.removeprefix(COUNTED): sums / count for key, sums in tally.items() if key.startswith(COUNTED)},
        }

    def _group(
        self,
        rows: np.ndarray,
        items: Int[Tensor, "P G"],
        valid: Bool[Tensor, "P G"],
        targets: Int[Tensor, " P"],
        scores: Float[Tensor, "P G"],
        *,
        histories: list[list[int]],
        teacher_log_probs: Float[Tensor, "P I"] | None,
    ) -> Group:
        return Group(
            items=items,
            targets=targets,
            hits=items == targets[:, None],
            rank=score_ranks(scores, valid),
            valid=valid,
            similarity=None if self.vectors is None else _cosines(self.vectors, items, targets),
            teacher=None
            if teacher_log_probs is None
            else teacher_log_probs.gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf),
            following=None if self.stretch_ends is None else [self._following(row) for row in rows.tolist()],
            catalog=self.item_facts,
            histories=histories,
            row_ids=self.row_ids[rows].tolist(),
        )

    def _following(self, row: int) -> list[int]:
        """What the user took after a row's target, in the training period."""
        assert self.stretch_ends is not None
        return self.targets[row + 1 : self.stretch_ends[row]].tolist()

    def _histories(self, rows: np.ndarray) -> list[list[int]]:
        """Item indices of each prompt, altered where the settings say so: a row at an update always in the same way."""
        config, found = self.config, [list(self.histories[row]) for row in rows]
        if not isinstance(config.histories, AlteredHistories):
            return found
        return [
            altered_history(own, config.histories, seed=(config.seed, self.update, row))
            for own, row in zip(found, rows.tolist(), strict=True)
        ]

    def _teacher_log_probs(self, histories: list[list[int]]) -> Float[Tensor, "P I"]:
        """(P, I) the teacher's log-probabilities of all items (nats)."""
        assert self.teacher is not None
        every = item_log_probs(self.teacher, histories, self.trie.items)
        return every.to(self.tree_model.device, torch.float32)


def _over_processes(counts: Counts, generated: frozenset[Hashable], tally: Tally) -> Counts:
    """Sum counts over ranks and note the distinct candidates; collective, so every rank must call it."""
    every = distributed.gathered((counts, generated))
    if distributed.is_main():
        tally["distinct"] += float(len(frozenset().union(*(own for _, own in every))))
    return sum((own for own, _ in every), Counts())


def _generated(found: Rollout) -> frozenset[Hashable]:
    """Distinct generated candidates, before the ground truth was added, as keys that don't depend on the rank."""
    indices = found.candidates[found.candidates >= 0].unique().tolist()
    if found.items is found.candidates:
        return frozenset(indices)
    # Freely generated candidates get new indices in each rollout, so their tokens are the key.
    return frozenset(tuple(found.trie.item(index)) for index in indices)


def _count(tally: Tally, found: Rollout) -> None:
    """Count the generated candidates, before the ground truth was added: all, invalid, repeated."""
    made = found.candidates >= 0
    same = (found.candidates[:, :, None] == found.candidates[:, None, :]).tril(-1).any(2)
    tally["candidates"] += float(made.sum())
    tally["invalid"] += float((made & (found.items < 0)).sum())
    tally["duplicate"] += float((made & same).sum())


def _cosines(
    vectors: Float[Tensor, "I width"], items: Int[Tensor, "P G"], targets: Int[Tensor, " P"]
) -> Float[Tensor, "P G"]:
    """Cosines of the candidates' and the target's unit vectors; 0 for what is no item."""
    return (vectors[items.clamp(min=0)] * vectors[targets][:, None]).sum(2).masked_fill(items < 0, 0.0)
