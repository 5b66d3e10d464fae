"""ReRe: reinforcement learning on the model's own constrained beams (arXiv 2510.12211).

An update: G items a prompt by constrained beam search; rule and ranking rewards by the rank of the score;
group advantages; GRPO with a k3 penalty to a reference that is synced now and then. Targets travel with
their row as item ids, so no label is looked up by text and no validation label can leak in.

Departs from the paper's code: candidates are scored as one token tree a prompt (same numbers); training
prompts are seen once an epoch in a seeded order that depends on nothing else, so a resumed run and any
number of devices see the same; the best validation NDCG@10 is kept, and the start counts as a candidate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.optim import AdamW
from tqdm import tqdm
from transformers import get_scheduler

from rere.artifacts import verify
from rere.baselines.sequential import SequentialRecommender
from rere.catalog.embeddings import embed_titles
from rere.catalog.index import CatalogIndex
from rere.config import RLConfig
from rere.data.dataset import Windows
from rere.decoding.tree_attention import TreeModel
from rere.errors import RereError
from rere.evaluation.metrics import ndcg, target_ranks
from rere.language_model import Checkpoint, save_checkpoint
from rere.serving.recommender import GenerativeRecommender
from rere.training.adaptation import adapt, merged
from rere.training.losses import LOSSES, k3, listwise
from rere.training.rewards import Group, group_advantages, score_ranks, total_reward, with_targets
from rere.training.rollout import rollout
from rere.training.sft import Log
from rere.training.state import Reference, Weights, load_progress, restore, save_progress, snapshot, trainable
from rere.training.tree_log_probs import TreeLogProbs, group_tree

SCORE = "valid_ndcg@10"


def train_rl(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    work: Path,
    log: Log,
    teacher: SequentialRecommender | None = None,
) -> Checkpoint:
    """Train on from `start`; resumes what it finds in `work`.

    Args:
        teacher: the item model whose probabilities a collaborative reward is.

    Returns:
        The kept policy (see `RLConfig.keep`), adapters merged, sealed; `curves` has a record an update.

    Raises:
        RereError: no training or validation rows, an altered start, a collaborative reward without a teacher,
            or weights that diverge.
    """
    if teacher is None and any(reward.type == "collaborative" for reward in config.rewards):
        raise RereError("an item model for the collaborative reward", "none", "pass `teacher`, or leave the reward out")
    result = work / "model"
    if (result / "manifest.json").exists():  # killed between training and storing: nothing to redo
        verify(result)
        return Checkpoint(result)
    run = _Run(start, windows, catalog, config, work / "progress", log, teacher)
    run.train()
    facts = {
        "stage": "rl",
        "settings": config.model_dump(mode="json"),
        "windows": windows.fingerprint,
        "start": start.verify(),
        "updates": run.update,
        "start_" + SCORE: run.curves[0][SCORE],
        "best_" + SCORE: run.best_score,
        "best_update": run.best_update,
        "seconds": round(run.seconds, 1),
    }
    if config.keep == "best":
        restore(run.model, run.best)
    return save_checkpoint(merged(run.model), result, run.curves, facts)


@dataclass
class _Batch:
    """One update's prompts: histories (P lists of item indices) and targets (P,)."""

    histories: list[list[int]]
    targets: torch.Tensor


@dataclass
class _Tally:
    """Sums over an update's micro-batches, and the distinct items that were generated."""

    values: dict[str, float] = field(default_factory=dict)
    items: set[int] = field(default_factory=set)

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value


class _Run:
    def __init__(
        self,
        start: Checkpoint,
        windows: Windows,
        catalog: CatalogIndex,
        config: RLConfig,
        progress: Path,
        log: Log,
        teacher: SequentialRecommender | None,
    ) -> None:
        self.config, self.catalog, self.progress, self.log, self.teacher = config, catalog, progress, log, teacher
        self.train_rows = _indexed(windows.of("train"), catalog, "training")
        valid = windows.of("valid")
        self.valid_rows = _indexed(
            valid.sample(min(len(valid), config.validation_rows), random_state=0), catalog, "validation"
        )
        per_epoch = -(-len(self.train_rows[0]) // config.prompts)
        self.total = min(config.epochs * per_epoch, config.updates or config.epochs * per_epoch)
        torch.manual_seed(config.seed)
        self.model = adapt(start.load_model(), config.adaptation)
        if config.gradient_checkpointing == "on":
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.tree_model = TreeModel(self.model)
        self.scorer = TreeLogProbs(self.tree_model)
        self.trie = catalog.trie.to(self.tree_model.device)
        weights = list(trainable(self.model).values())
        self.optimiser = AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = get_scheduler("cosine", self.optimiser, round(config.warmup_share * self.total), self.total)
        chosen = [reward for reward in config.rewards if reward.type == "semantic"]
        self.vectors = None
        if chosen:
            vectors = embed_titles(catalog.titles, chosen[0].embedding, config.seed)
            self.vectors = torch.from_numpy(vectors).to(self.tree_model.device)
        self.update, self.seconds = 0, 0.0
        self.curves: list[dict[str, float]] = []
        self.best: Weights = {}
        self.best_score, self.best_update = -1.0, 0
        self.reference = Reference(self.model)
        self._resume()

    def _resume(self) -> None:
        found = load_progress(self.progress, self.tree_model.device)
        if found is None:
            return
        weights, facts, optimiser = found
        restore(self.model, weights["policy"])
        self.reference, self.best = Reference(self.model, weights["reference"]), weights["best"]
        self.optimiser.load_state_dict(optimiser["optimiser"])
        self.schedule.load_state_dict(optimiser["schedule"])
        torch.set_rng_state(optimiser["random"].cpu())
        self.update, self.seconds, self.curves = facts["update"], facts["seconds"], facts["curves"]
        self.best_score, self.best_update = facts["best_score"], facts["best_update"]

    def _save(self) -> None:
        save_progress(
            self.progress,
            {"policy": snapshot(self.model), "reference": self.reference.weights, "best": self.best},
            {
                "update": self.update,
                "seconds": self.seconds,
                "curves": self.curves,
                "best_score": self.best_score,
                "best_update": self.best_update,
            },
            {
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": torch.get_rng_state(),
            },
        )

    def train(self) -> None:
        """All updates that are left."""
        if not self.curves:
            self._record({SCORE: self._validate()})
        bar = tqdm(total=self.total, initial=self.update, desc="RL", unit="update")
        for batch in self._batches():
            started = time.perf_counter()
            record = self._step(batch)
            self.update += 1
            if self.update % self.config.reference_sync_updates == 0:
                self.reference.sync(self.config.reference_mixup)
            if self.update % self.config.validate_every == 0 or self.update == self.total:
                record[SCORE] = self._validate()
            self.seconds += time.perf_counter() - started
            self._record(record)
            if self.update % self.config.checkpoint_every == 0:
                self._save()
            bar.update()
            bar.set_postfix(
                reward=f"{record['reward']:.3f}", hits=f"{record['groups_with_hit']:.2f}", best=f"{self.best_score:.4f}"
            )
        bar.close()

    def _record(self, record: dict[str, float]) -> None:
        self.curves.append({"update": self.update, **record})
        self.log(record, self.update)

    def _batches(self) -> Iterator[_Batch]:
        """Batches of the updates still to do: an epoch's order depends on the seed and the epoch only."""
        histories, targets = self.train_rows
        done = 0
        for epoch in range(self.config.epochs):
            order = np.random.default_rng((self.config.seed, epoch)).permutation(len(histories))
            for first in range(0, len(order), self.config.prompts):
                if done == self.total:
                    return
                done += 1
                if done > self.update:
                    rows = order[first : first + self.config.prompts]
                    yield _Batch([histories[row] for row in rows], targets[rows])

    def _step(self, batch: _Batch) -> dict[str, float]:
        """One update: rollout, rewards, loss and gradient a micro-batch, then the optimiser's step."""
        started = time.perf_counter()
        tally, size, count = _Tally(), self.config.device_batch_prompts, len(batch.histories)
        for first in range(0, count, size):
            part = slice(first, first + size)
            self._micro_step(batch.histories[part], batch.targets[part].to(self.tree_model.device), count, tally)
        norm = torch.nn.utils.clip_grad_norm_(trainable(self.model).values(), self.config.clip_gradient)
        if not torch.isfinite(norm):
            raise RereError(
                "a finite gradient", f"{float(norm)} at update {self.update + 1}", "lower the learning rate"
            )
        rate = self.schedule.get_last_lr()[0]
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        sums = tally.values
        return {
            "loss": sums["loss"],
            "reward": sums["reward"] / sums["candidates"],
            "groups_with_hit": sums["hits"] / count,
            "groups_without_signal": sums["silent"] / count,
            "kl": sums["kl"] / max(sums["scored"], 1.0),
            "diversity": len(tally.items) / sums["candidates"],
            "tokens_per_second": sums["tokens"] / (time.perf_counter() - started),
            "gradient_norm": float(norm),
            "learning_rate": rate,
        }

    def _micro_step(self, histories: Sequence[Sequence[int]], targets: torch.Tensor, count: int, tally: _Tally) -> None:
        config, prompts = self.config, [self.catalog.prompt(history) for history in histories]
        self.model.eval()  # candidates come from the policy itself, without dropout
        with self._precision():
            candidates, forwarded = rollout(
                self.tree_model, self.trie, prompts, targets, config, self.config.seed * 1_000_003 + self.update
            )
        reached = (candidates == targets[:, None]).any(1)
        if config.ground_truth == "add":
            candidates = with_targets(candidates, targets)
        tree = group_tree(self.trie, prompts, candidates, config.normalisation, self.tree_model.dtype)
        with self.reference.in_place(), self._precision():
            reference = self.scorer(tree)
        self.model.train()
        with self._precision():
            policy = self.scorer(tree)
        valid = candidates >= 0
        hits = (candidates == targets[:, None]) & valid
        group = Group(
            hits,
            score_ranks(policy.detach().sum(2), valid),
            valid,
            None if self.vectors is None else _cosines(self.vectors, candidates, targets),
            None if self.teacher is None else _teacher_scores(self.teacher, histories, candidates),
        )
        reward = total_reward(config.rewards, group)
        advantages = group_advantages(reward, valid, config.advantage)
        divergence = k3(policy, reference) * tree.mask
        if config.loss == "listwise":
            loss = listwise(policy, tree.mask, reward, valid, config.kl * divergence)
        else:
            loss = LOSSES[config.loss](policy, tree.mask, advantages, config.kl * divergence)
        loss = loss * len(prompts) / count
        loss.backward()
        tally.items.update(candidates[valid].tolist())
        tally.add(
            loss=float(loss.detach()),
            reward=float((reward * valid).sum()),
            candidates=float(valid.sum()),
            hits=float(reached.sum()),
            silent=float((advantages.abs() < 1e-6).all(1).sum()),
            kl=float(divergence.detach().sum()),
            scored=float(tree.mask.sum()),
            tokens=float(forwarded + 2 * len(tree.tokens)),
        )

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.tree_model.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )

    def _validate(self) -> float:
        """NDCG@10 on the validation rows; keeps the best weights so far."""
        self.model.eval()
        histories, targets = self.valid_rows
        recommender = GenerativeRecommender(
            "validation", self.tree_model, self.catalog, normalisation=self.config.normalisation
        )
        ranks = target_ranks(recommender.recommend(histories, 10).items, targets.numpy())
        score = float(ndcg(ranks, 10).mean())
        if score > self.best_score:
            self.best, self.best_score, self.best_update = snapshot(self.model), score, self.update
        return score


def _cosines(vectors: torch.Tensor, candidates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(I, D) unit vectors, (P, G) candidates, (P,) targets -> (P, G)."""
    return (vectors[candidates.clamp(min=0)] * vectors[targets][:, None]).sum(2)


@torch.no_grad()
def _teacher_scores(
    teacher: SequentialRecommender, histories: Sequence[Sequence[int]], candidates: torch.Tensor
) -> torch.Tensor:
    """(P, G) log-probabilities (nats) of the candidates."""
    recent = [list(history)[-teacher.config.history_items :] for history in histories]
    scores = teacher.network.scores(teacher.network.last_states(recent)).log_softmax(-1)
    return scores.to(candidates.device).gather(1, candidates.clamp(min=0))


def _indexed(rows: pd.DataFrame, catalog: CatalogIndex, name: str) -> tuple[list[list[int]], torch.Tensor]:
    """Histories and targets as item indices."""
    if not len(rows):
        raise RereError(f"at least one {name} window", "none", "use more data, another split or a smaller k-core")
    histories = [[catalog.index_of[item] for item in history] for history in rows["history"]]
    return histories, torch.tensor([catalog.index_of[item] for item in rows["target"]])
