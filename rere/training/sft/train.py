"""Supervised fine-tuning on next items, by TRL's SFTTrainer.

Departs from the paper in two defaults, both by config: all targets of a user's sequence train in one
forward (`rows: sequence`), and the small default model trains from scratch at a higher learning rate.
Validation is always on windows, one row per target, so that losses of both row formats are comparable.

With several processes (`launcher`) each calls `train_sft` and takes its share of every batch: see
rere/training/sft/trainer.py.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, ProgressCallback

from rere.catalog.index import CatalogIndex
from rere.config.backbone import Backbone
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.context import REMEDY, context_of, longest_possible, longest_prompt, require_room
from rere.models.item_tokens import embed_items, embedding_rows
from rere.models.tree_attention import check_engine
from rere.recommenders.item_models import ItemModels
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.training.adaptation import prepared
from rere.training.sft.callbacks import Bars, Clock, Curves, Divergence, Instructions, Patience, Validations, record
from rere.training.sft.inputs import arguments, collator, datasets_of, loss_of, trained_tokens
from rere.training.sft.processes import received, sft_in_processes
from rere.training.sft.trainer import SharedTrainer


def train_sft(
    windows: Windows,
    catalog: CatalogIndex,
    backbone: Backbone,
    config: SFTConfig,
    work: Path,
    *,
    log: Log,
    start: Checkpoint | None = None,
    teacher: ItemModels | None = None,
) -> Checkpoint:
    """Fine-tune a backbone to generate the next item; resumes a run found in `work`.

    Args:
        work: directory for checkpoints and the result, for these settings and data only.
        log: called with metrics and the update they belong to.
        teacher: the one item model that `config.distillation` learns from, cross-fitted or not.
        start: an earlier model of this backbone and tokenizer to continue from, instead of the backbone's weights.

    Returns:
        The model with the lowest validation loss (nats per token), adapters merged, sealed; the backbone itself with
        0 epochs. With `labels_after`, what it tells of its training is of the labels; its parent was trained before.

    Raises:
        RereError: no training or validation rows; distillation without a teacher; a backbone that can't be found, whose
            context is too short, that the search can't score, or that lacks the LoRA targets; a loss that explodes; a
            process that failed.
    """
    result = work / "model"
    if done := Checkpoint.finished(result):
        return done
    if config.distillation and teacher is None:
        raise RereError("an item model for distillation", "none", "pass `teacher`, or set `sft.distillation: null`")
    if (taught := config.distillation) and (labels := taught.labels_after):
        first = config.model_copy(update={"distillation": taught.model_copy(update={"labels_after": None})})
        start = train_sft(windows, catalog, backbone, first, work / "taught", log=log, start=start, teacher=teacher)
        config = config.model_copy(update={"distillation": None, **labels.model_dump()})
        log, teacher = later(log, start.facts().get("updates", 0)), None
    if (config.launcher.starts_workers or config.sharding == "fsdp") and not distributed.is_worker():
        if config.sharding == "fsdp" and not config.launcher.on_gpus:  # accelerate would ignore it silently
            raise RereError("GPUs for `sharding: fsdp`", "none", "set `sharding: none`")
        return sft_in_processes(
            f"{__name__}:worker", windows, catalog, backbone, config, work=work, log=log, start=start, teacher=teacher
        )
    clock = Clock()
    asked = teacher.alone() if config.distillation and teacher is not None else None
    train, valid = datasets_of(windows, catalog, config, asked)
    drawn = max(map(len, catalog.prompt_heads)) - len(catalog.prompt_head)  # more, where a longer instruction is drawn
    longest_row = max(map(len, train["input_ids"])) + drawn
    model = _untrained(windows, catalog, backbone, start, longest_row=longest_row, seed=config.seed)
    if not config.epochs:
        base = {"stage": "base", "backbone": backbone.model_dump(mode="json"), "windows": windows.fingerprint}
        return _saved(model, result, [], base)
    batches = collator(windows, catalog, config, teacher)
    trainer = SharedTrainer(
        catalog=catalog,
        loss=loss_of(model, catalog, config),
        model=model,
        args=arguments(config, len(train), trained_tokens(train), work / "checkpoints"),
        train_dataset=train,
        eval_dataset=valid,
        data_collator=batches,
        processing_class=catalog.tokenizer,
        peft_config=prepared(model, config.adaptation),
        callbacks=[
            Divergence(catalog.vocabulary),
            Patience(config.patience),
            Validations(config.validations_per_epoch),
            Curves(log),
            clock,
        ],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bars())
    if catalog.further_heads:
        trainer.add_callback(Instructions(batches, catalog, config.seed))
    trainer.train(resume_from_checkpoint=_last_checkpoint(work / "checkpoints"))
    curves = [record(entry) for entry in trainer.state.log_history]
    facts = {
        "stage": "sft",
        "settings": config.model_dump(mode="json"),
        "backbone": backbone.model_dump(mode="json"),
        **({"parent": start.identity()} if start else {}),
        "windows": windows.fingerprint,
        "updates": trainer.state.global_step,
        "targets_an_epoch": trained_tokens(train),
        "tokens": round(sum(map(len, train["labels"])) * (trainer.state.epoch or 0)),
        "best_valid_loss": trainer.state.best_metric,
        "best_update": trainer.state.best_global_step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(clock.seconds, 1),
    }
    model, trained = trainer.whole_model()
    checkpoint = _saved(model, result, [one for one in curves if len(one) > 1], facts, trained)
    if distributed.is_main():
        shutil.rmtree(work / "checkpoints", ignore_errors=True)
    return checkpoint


def later(log: Log, updates: int) -> Log:
    """Updates are counted on from an earlier training's."""
    return lambda metrics, update: log(metrics, update + updates)


def _untrained(
    windows: Windows,
    catalog: CatalogIndex,
    backbone: Backbone,
    start: Checkpoint | None,
    *,
    longest_row: int,
    seed: int,
) -> PreTrainedModel:
    """What training starts from, with the items' embeddings.

    Raises:
        RereError: its context is too short, or the search can't score it.
    """
    context = max(longest_row, longest_possible(catalog, windows.history_items))
    model = start.load_model() if start else load_model(backbone, len(catalog.tokenizer), seed, context)
    embed_items(model, catalog, first=0 if start is None else embedding_rows(model))
    require_room(context_of(model.config), longest_prompt(windows, catalog))
    require_room(context_of(model.config), longest_row, f"fewer `sft.sequence_items`, {REMEDY}")
    check_engine(model)
    return model


def worker(spec: dict[str, Any], log: Log) -> None:
    """Run one of several processes."""
    train_sft(**received(spec), log=log)


def _saved(
    model: PreTrainedModel,
    result: Path,
    curves: list[dict[str, float]],
    facts: dict[str, Any],
    trained: torch.Tensor | None = None,
) -> Checkpoint:
    """Save and seal the model in the first process; the others wait for it."""
    if distributed.is_main():
        save_checkpoint(model, result, curves, facts, trained=trained)
    distributed.barrier()
    return Checkpoint(result)


def _last_checkpoint(directory: Path) -> str | None:
    """The latest complete checkpoint; incomplete ones (the state file is written last) are removed."""
    checkpoints = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(checkpoints):
        if (checkpoint / "trainer_state.json").is_file():
            return str(checkpoint)
        if distributed.is_main():
            logging.getLogger(__name__).warning("Removing the unfinished checkpoint %s", checkpoint.name)
            shutil.rmtree(checkpoint)
    return None
