"""Trainer callbacks: metric names, divergence, progress bars, timing, early stopping."""

from __future__ import annotations

import math
import time
from typing import Any

from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

from rere.catalog.index import CatalogIndex
from rere.errors import RereError
from rere.runtime.launch import Log
from rere.runtime.progress import progress
from rere.training.instructions import HeadDraw
from rere.training.rows import Collator

HOPELESS = 2.0  # multiple of the loss of guessing
NAMES = {
    "loss": "train_loss",
    "eval_loss": "valid_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "epoch": "epoch",
}


def record(entry: dict[str, Any]) -> dict[str, float]:
    """A log entry of the trainer, under our metric names."""
    return {"update": entry["step"], **{name: entry[key] for key, name in NAMES.items() if key in entry}}


class Curves(TrainerCallback):
    """Passes the trainer's metrics on to `log`."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        found = record({**(logs or {}), "step": state.global_step})
        update = int(found.pop("update"))
        if set(found) - {"epoch"}:
            self.log(found, update)


class Divergence(TrainerCallback):
    """Stops a training whose loss is not a number, or far above that of guessing among all tokens.

    Args:
        vocabulary: number of tokens to guess among.
    """

    def __init__(self, vocabulary: int) -> None:
        self.guessing = math.log(vocabulary)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        for name, value in record({**(logs or {}), "step": state.global_step}).items():
            hopeless = name.endswith("loss") and value > HOPELESS * self.guessing
            if not math.isfinite(value) or hopeless:
                raise RereError(
                    f"a loss that falls (guessing among all tokens has {self.guessing:.1f} nats per token)",
                    f"{name} {value:.3g} at update {state.global_step}",
                    "lower `sft.learning_rate`, or lengthen `sft.warmup_share`",
                )


class Bars(ProgressCallback):
    """The stock bars, made by `rere.runtime.progress`; they show the metrics, which are not printed in between."""

    training_bar: Any
    prediction_bar: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.current_step = state.global_step
        if state.is_world_process_zero:
            self.training_bar = progress(total=state.max_steps, initial=state.global_step, desc="sft", unit="update")

    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and self.prediction_bar is None:
            self.prediction_bar = progress(total=len(eval_dataloader), desc="validation", unit="batch", leave=False)
        super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)  # type: ignore[no-untyped-call]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is not None and (found := record({**(logs or {}), "step": state.global_step})):
            shown = {name: f"{found[name]:.3f}" for name in ("train_loss", "valid_loss") if name in found}
            self.training_bar.set_postfix(shown, refresh=False)


class Clock(TrainerCallback, ExportableState):
    """Seconds of training since creation, plus those of earlier processes up to the checkpoint that was resumed.

    The trainer writes `state` into its checkpoints, but restores it only together with the state of its own controls.
    """

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"seconds": self.seconds}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step:  # resumed, possibly from a checkpoint that was written before this callback existed
            none = {"args": {}, "attributes": {"seconds": 0.0}}
            self.before = state.stateful_callbacks.setdefault(type(self).__name__, none)["attributes"]["seconds"]


class Instructions(TrainerCallback):
    """Has the collator draw each epoch's instructions anew."""

    def __init__(self, collator: Collator, catalog: CatalogIndex, seed: int) -> None:
        self.collator, self.catalog, self.seed = collator, catalog, seed

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = int(state.epoch or 0)  # so many are done, those before an interruption too
        self.collator.draw = HeadDraw(self.catalog, self.seed, epoch)


class Validations(TrainerCallback):
    """Has the trainer validate and save at equal distances within an epoch, as it does by itself at an epoch's end."""

    def __init__(self, per_epoch: int) -> None:
        self.per_epoch = per_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        updates = state.max_steps // round(args.num_train_epochs)
        if state.global_step % updates in {round(updates * part / self.per_epoch) for part in range(1, self.per_epoch)}:
            # Logged too: the loss since the last log isn't in the checkpoint, and a resumed run must log the same.
            control.should_log = control.should_evaluate = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if any("eval_loss" in entry and entry["step"] == state.global_step for entry in state.log_history):
            control.should_evaluate = control.should_save = False  # it was here that patience ended within the epoch


class Patience(TrainerCallback):
    """Stops after this many validations in a row that were no better than the best.

    They are counted from the log, which checkpoints hold; transformers' own count starts again at a resume.
    """

    def __init__(self, validations: int) -> None:
        self.validations = validations

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if len(losses) - 1 - losses.index(min(losses)) >= self.validations:
            control.should_training_stop = True
