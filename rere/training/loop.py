"""The training loop of a policy on prompts: batches, accumulation, validation, checkpoints, the best weights.

A subclass defines what one micro-batch adds to the gradient (`micro_step`) and what an update reports (`means`).
An epoch's order depends on the seed and the epoch only, so a resumed run and any number of devices see the same order.

Several processes (rere/runtime/launch.py) divide the prompts of every micro-batch; gradients and records are sums
over processes, so all take the same step and hold the same weights. The first one writes checkpoints and the result.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch.optim import AdamW
from transformers import PreTrainedModel, get_scheduler

from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation
from rere.config.training import UpdateSettings
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.context import REMEDY, longest_prompt, require_room
from rere.models.item_tokens import train_by_titles
from rere.models.probe import probe
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs
from rere.models.trunks import Prompts
from rere.recommenders.base import Recommender
from rere.recommenders.generative import GenerativeRecommender
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.runtime.progress import progress
from rere.training.adaptation import adapt, merged
from rere.training.checkpoint import (
    Reference,
    Weights,
    load_progress,
    random_state,
    restore,
    save_progress,
    set_random_state,
    snapshot,
    trainable,
)
from rere.training.instructions import HeadDraw
from rere.training.prefill import PrefillGroups
from rere.training.probes import VALID, Probe, Probes, training_probes

SCORE = "valid_ndcg@10"
Config = TypeVar("Config", bound=UpdateSettings)
Tally = defaultdict[str, float]  # sums over an update's micro-batches
PROMPTS = "prompts"  # in a tally: how many the update has


class PolicyRun(ABC, Generic[Config]):
    """One training from a checkpoint, with the state that a resumed run needs.

    Args:
        progress: directory of the checkpoint, read if there is one.
    """

    name = "policy"
    bar_fields: tuple[str, ...] = ()  # entries of a record that the progress bar shows
    means: ClassVar[Mapping[str, str]]  # entries of a record besides `loss`: each its sum over that of the other name
    normalisation: Normalisation = "vocab"  # of the validation lists

    def __init__(
        self, start: Checkpoint, windows: Windows, catalog: CatalogIndex, config: Config, progress: Path, *, log: Log
    ) -> None:
        self.start, self.windows, self.catalog = start, windows, catalog
        self.config: Config = config
        self.progress, self.log = progress, log
        self.training = self.training_windows()
        prompts = require_rows(self.training.of("train"), "training")
        self.histories, targets = indexed_rows(prompts, catalog.index_of)
        self.targets = torch.from_numpy(targets)
        self.groups = PrefillGroups(self.training, catalog, self.histories, targets, config.prefill)
        valid = windows.of("valid")
        valid = require_rows(valid.sample(min(len(valid), config.validation_rows), random_state=0), "validation")
        self.per_epoch = -(-len(self.histories) // config.prompts)
        self.total = min(config.epochs * self.per_epoch, config.updates or config.epochs * self.per_epoch)
        probes = training_probes(windows, self.training, list(self._planned()), catalog, config)
        self.probes = Probes({VALID: Probe.of(valid, catalog), **probes})
        torch.manual_seed(config.seed)
        self.model = self.model_to_train()
        if config.gradient_checkpointing == "on":
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.tree_model = TreeModel(self.model)
        self.tree_model.require_room(longest_prompt(windows, catalog))
        require_room(self.tree_model.context, self.groups.longest(), f"fewer `prefill.prompts`, {REMEDY}")
        self.scorer = TreeLogProbs(self.tree_model)
        self.trie = catalog.trie.to(self.tree_model.device)
        groups = self.weights_to_train()
        self.optimiser = AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        train_by_titles(self.model, catalog, self.optimiser)
        steps = self.total * self.steps_per_update
        self.schedule = get_scheduler(config.lr_scheduler_type, self.optimiser, config.warmup(steps), steps)
        self.update, self.seconds, self.tokens = 0, 0.0, 0.0
        self.curves: list[dict[str, float]] = []
        self.best: Weights = {}
        self.best_score, self.best_update = -1.0, 0
        self.reference = Reference(self.model)
        self._resume()
        if not distributed.is_main():  # dropout of its own; the first process's is in the checkpoint
            torch.manual_seed(config.seed + 1_000_003 * self.update + distributed.rank())

    def training_windows(self) -> Windows:
        """The windows whose training rows are prompts."""
        return self.windows

    def model_to_train(self) -> PreTrainedModel | PeftModel:
        """The start, with adapters where the settings ask for them."""
        return adapt(self.start.load_model(), self.config.adaptation)

    def weights_to_train(self) -> list[dict[str, Any]]:
        """The optimiser's groups of weights."""
        return [{"params": list(trainable(self.model).values())}]

    def without_additions(self) -> dict[str, Weights]:
        """Take off the model what a subclass added to it: tensors by the name of the file that is to have them."""
        return {}

    def recommender(self) -> Recommender:
        """The model as validation judges it."""
        return GenerativeRecommender(
            "validation", self.tree_model, self.catalog, normalisation=self.normalisation, sharding="shared"
        )

    @abstractmethod
    def micro_step(self, rows: np.ndarray, count: int, tally: Tally) -> None:
        """Add the gradient of some training rows of an update to the weights, and the record's sums to `tally`.

        Args:
            rows: indices of this process's share of a micro-batch; empty if there are fewer rows than processes.
            count: rows of the whole update.
        """

    @property
    def steps_per_update(self) -> int:
        """The optimiser's steps on the same prompts."""
        return 1

    def again(self, count: int, tally: Tally) -> None:
        """Add the gradient of all micro-batches of the update once more, for a further step on them."""

    def summary(self, tally: Tally) -> dict[str, float]:
        """An update's record from the sums over its micro-batches."""
        means = {name: tally[name] / max(tally[divisor], 1.0) for name, divisor in self.means.items()}
        return {"loss": tally["loss"], **means}

    def after_update(self) -> None:
        """A hook that runs after the optimiser's step."""

    def train(self) -> None:
        """Run all remaining updates."""
        if not self.curves:
            self._record(self._validate())
        bar = progress(total=self.total, initial=self.update, desc=self.name, unit="update")
        for rows in itertools.islice(self._planned(), self.update, None):
            started = time.perf_counter()
            record = self._step(rows)
            self.update += 1
            self.after_update()
            if self.update % self.config.validate_every == 0 or self.update == self.total:
                record |= self._validate()
            self.seconds += time.perf_counter() - started
            self._record(record)
            if self.update % self.config.checkpoint_every == 0:
                self._save()
            shown = {name: f"{record[name]:.3f}" for name in self.bar_fields} | {"best": f"{self.best_score:.4f}"}
            bar.set_postfix(shown, refresh=False)
            bar.update()
        bar.close()

    def finish(self, result: Path, keep: str = "best") -> Checkpoint:
        """Seal the weights with the best validation NDCG@10 (or the last), adapters merged, with the curves."""
        facts = {
            "stage": self.name,
            "settings": self.config.model_dump(mode="json"),
            "windows": self.windows.fingerprint,
            "start": self.start.identity(),
            "updates": self.update,
            "start_" + SCORE: self.curves[0][SCORE],
            "best_" + SCORE: self.best_score,
            "best_update": self.best_update,
            "probes": {name: len(probe.targets) for name, probe in self.probes.probes.items()},
            "seconds": round(self.seconds, 1),
            "tokens": int(self.tokens),
        }
        if keep == "best":
            restore(self.model, self.best)
        beside = self.without_additions()
        if distributed.is_main():
            trained = probe(self.model)
            save_checkpoint(merged(self.model), result, self.curves, facts, trained=trained, beside=beside)
        distributed.barrier()
        return Checkpoint(result)

    def prompts(self, rows: np.ndarray) -> Prompts:
        """The prompts of training rows."""
        return self.groups.prompts(rows, self.tree_model.device, self.head_draw())

    def head_draw(self) -> HeadDraw:
        """The draw of instructions of the present epoch."""
        return HeadDraw(self.catalog, self.config.seed, self.update // self.per_epoch)

    def draw_seed(self, rows: np.ndarray) -> int:
        """The seed of what is drawn for a micro-batch: it depends on the update and the first row alone."""
        return int(np.random.SeedSequence((self.config.seed, self.update, int(rows[0]))).generate_state(1)[0])

    def precision(self) -> torch.autocast:
        return torch.autocast(
            self.tree_model.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )

    def accumulate(self, rows: np.ndarray) -> Tally:
        """Add the gradient of an update's rows to the weights; the sums over all its micro-batches and processes."""
        tally = Tally(float)
        for micro in self.groups.micro_batches(rows, self.config.device_batch_prompts):
            self.micro_step(self.groups.share(micro), len(rows), tally)
        distributed.sum_gradients(trainable(self.model).values())
        total = distributed.total_of(tally)
        total[PROMPTS] = float(len(rows))
        return total

    def _planned(self) -> Iterator[np.ndarray]:
        """Rows of each update, those done included."""
        done = 0
        for epoch in range(self.config.epochs):
            order = self.groups.epoch(self.config.seed, epoch)
            for first in range(0, len(order), self.config.prompts):
                if done == self.total:
                    return
                done += 1
                yield order[first : first + self.config.prompts]

    def _step(self, rows: np.ndarray) -> dict[str, float]:
        """One update: the gradient, then the optimiser's step, as often as there are steps."""
        started = time.perf_counter()
        tally = self.accumulate(rows)
        facts = self._descend()
        for _ in range(1, self.steps_per_update):
            further = Tally(float)
            self.again(len(rows), further)
            distributed.sum_gradients(trainable(self.model).values())
            tally["tokens"] += distributed.total_of(further)["tokens"]
            self._descend()
        self.tokens += tally["tokens"]
        return {
            **self.summary(tally),
            "tokens_per_second": tally["tokens"] / (time.perf_counter() - started),
            **facts,
        }

    def _descend(self) -> dict[str, float]:
        """The optimiser's step along the gradient; an update's record has those of its first."""
        norm = torch.nn.utils.clip_grad_norm_(trainable(self.model).values(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise RereError(
                "a finite gradient", f"{float(norm)} at update {self.update + 1}", "lower the learning rate"
            )
        rate = self.schedule.get_last_lr()[0]
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {"gradient_norm": float(norm), "learning_rate": rate}

    def _record(self, record: dict[str, float]) -> None:
        self.curves.append({"update": self.update, **record})
        self.log(record, self.update)

    def _validate(self) -> dict[str, float]:
        """NDCG@10 on the validation rows and the other probes; keeps the best weights so far."""
        self.model.eval()
        record = self.probes.measure(self.recommender())
        if record[SCORE] > self.best_score:
            self.best, self.best_score, self.best_update = snapshot(self.model), record[SCORE], self.update
        return record

    def _resume(self) -> None:
        found = load_progress(self.progress, self.tree_model.device)
        if found is None:
            return
        weights, facts, optimiser = found
        restore(self.model, weights["policy"])
        self.reference, self.best = Reference(self.model, weights["reference"]), weights["best"]
        self.optimiser.load_state_dict(optimiser["optimiser"])
        self.schedule.load_state_dict(optimiser["schedule"])
        set_random_state(optimiser, self.tree_model.device)
        self.update, self.seconds, self.tokens = facts["update"], facts["seconds"], facts["tokens"]
        self.curves, self.best_score, self.best_update = facts["curves"], facts["best_score"], facts["best_update"]
        self.probes.start_ranks = facts["start_ranks"]

    def _save(self) -> None:
        if not distributed.is_main():
            return
        state = {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}
        save_progress(
            self.progress,
            {"policy": snapshot(self.model), "reference": self.reference.weights, "best": self.best},
            {
                "update": self.update,
                "seconds": self.seconds,
                "tokens": self.tokens,
                "curves": self.curves,
                "best_score": self.best_score,
                "best_update": self.best_update,
                "start_ranks": self.probes.start_ranks,
            },
            state | random_state(self.tree_model.device),
        )


def require_rows(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows; RereError where there are none."""
    if not len(rows):
        raise RereError(f"at least one {name} window", "none", "use more data, another split or a smaller k-core")
    return rows
