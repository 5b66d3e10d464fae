"""Supervised fine-tuning on next items, by TRL's SFTTrainer.

Departs from the paper in two defaults, both by config: all targets of a user's sequence train in one
forward (`rows: sequence`), and the small default model trains from scratch at a higher learning rate.
Validation is always on windows, one row per target, so that losses of both row formats are comparable.

With several processes (`launcher`) each calls `train_sft` and takes its share of every batch: see
rere/training/sft/trainer.py.
"""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PreTrainedModel, ProgressCallback
from trl import SFTConfig as TRLConfig

from rere.artifacts.manifest import verify
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
from rere.training.rows import Collator, sequence_row, sequence_rows, stretches, window_rows
from rere.training.sft.altered import altered_rows
from rere.training.sft.callbacks import Bars, Clock, Curves, Divergence, Patience, record
from rere.training.sft.catalogue_loss import CatalogueCollator, CatalogueLoss, Teacher
from rere.training.sft.processes import received, sft_in_processes
from rere.training.sft.trainer import FSDP, SharedTrainer


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
        teacher: the one item model that `config.distillation` learns from.
        start: an earlier model of this backbone and tokenizer to continue from, instead of the backbone's weights.

    Returns:
        The model with the lowest validation loss (nats per token), adapters merged, sealed; the backbone itself with
        0 epochs.

    Raises:
        RereError: no training or validation rows; distillation without a teacher; a backbone that can't be found, whose
            context is too short, that the search can't score, or that lacks the LoRA targets; a loss that explodes; a
            process that failed.
    """
    result = work / "model"
    if (result / "manifest.json").exists():  # killed between training and storing: already trained
        verify(result)
        return Checkpoint(result)
    if config.distillation and teacher is None:
        raise RereError("an item model for distillation", "none", "pass `teacher`, or set `sft.distillation: null`")
    if (config.launcher.starts_workers or config.sharding == "fsdp") and not distributed.is_worker():
        if config.sharding == "fsdp" and not config.launcher.on_gpus:  # accelerate would ignore it silently
            raise RereError("GPUs for `sharding: fsdp`", "none", "set `sharding: none`")
        return sft_in_processes(
            f"{__name__}:worker", windows, catalog, backbone, config, work=work, log=log, start=start, teacher=teacher
        )
    clock = Clock()
    train, valid = _datasets(windows, catalog, config)
    longest_row = max(map(len, train["input_ids"]))
    context = max(longest_row, longest_possible(catalog, windows.history_items))
    model = start.load_model() if start else load_model(backbone, len(catalog.tokenizer), config.seed, context)
    embed_items(model, catalog, first=0 if start is None else embedding_rows(model))
    require_room(context_of(model.config), longest_prompt(windows, catalog))
    require_room(context_of(model.config), longest_row, f"fewer `sft.sequence_items`, {REMEDY}")
    check_engine(model)
    if not config.epochs:
        base = {"stage": "base", "backbone": backbone.model_dump(mode="json"), "windows": windows.fingerprint}
        return _saved(model, result, [], base)
    trainer = SharedTrainer(
        catalog=catalog,
        loss=_loss(model, catalog, config),
        model=model,
        args=_arguments(config, len(train), _targets(train), work / "checkpoints"),
        train_dataset=train,
        eval_dataset=valid,
        data_collator=_collator(windows, catalog, config, teacher),
        processing_class=catalog.tokenizer,
        peft_config=prepared(model, config.adaptation),
        callbacks=[Divergence(catalog.vocabulary), Patience(config.patience), Curves(log), clock],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bars())
    trainer.train(resume_from_checkpoint=_last_checkpoint(work / "checkpoints"))
    curves = [record(entry) for entry in trainer.state.log_history]
    facts = {
        "stage": "sft",
        "settings": config.model_dump(mode="json"),
        "backbone": backbone.model_dump(mode="json"),
        **({"parent": start.identity()} if start else {}),
        "windows": windows.fingerprint,
        "updates": trainer.state.global_step,
        "targets_an_epoch": _targets(train),
        "tokens": sum(map(len, train["labels"])) * round(trainer.state.epoch or 0),
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
        save_checkpoint(model, result, curves, facts, trained)
    distributed.barrier()
    return Checkpoint(result)


def _pad(catalog: CatalogIndex) -> int:
    """A token to pad rows with; any token works, because padding is masked out."""
    pad = catalog.tokenizer.pad_token_id
    return 0 if pad is None else pad


def _loss(model: PreTrainedModel, catalog: CatalogIndex, config: SFTConfig) -> CatalogueLoss | None:
    """The catalogue's loss; the trainer's own where probabilities are over the vocabulary."""
    if config.normalisation == "vocab":
        return None
    return CatalogueLoss(catalog.trie.to(model.device), config.distillation.temperature if config.distillation else 1.0)


def _collator(windows: Windows, catalog: CatalogIndex, config: SFTConfig, teacher: ItemModels | None) -> Collator:
    """The collator that makes batches of rows."""
    if config.normalisation == "vocab":
        return Collator(_pad(catalog), windows.history_items)
    own_teacher = None
    if config.distillation and teacher is not None:
        [model] = teacher.models.values()
        own_teacher = Teacher(model)
    return CatalogueCollator(_pad(catalog), windows.history_items, catalog, own_teacher)


def _datasets(windows: Windows, catalog: CatalogIndex, config: SFTConfig) -> tuple[datasets.Dataset, datasets.Dataset]:
    train, valid = windows.of("train"), windows.of("valid")
    for name, rows in {"training": train, "validation": valid}.items():
        if not len(rows):
            raise RereError(f"at least one {name} window", "none", "use more data, another split or a smaller k-core")
    if len(valid) > config.validation_rows:
        valid = valid.sample(config.validation_rows, random_state=config.seed)
    train_rows = list(
        window_rows(train, catalog)
        if config.rows == "window"
        else sequence_rows(train, catalog, windows.history_items, config.sequence_items)
    )
    if (taught := config.distillation) is not None:
        sequences = [context + targets for context, targets in stretches(train, catalog, windows.history_items)]
        count = round(taught.altered_rows * len(train_rows))
        altered = altered_rows(sequences, count, config.sequence_items, config.seed)
        train_rows = [{**row, "taught": taught.weight} for row in train_rows]
        train_rows += [{**sequence_row(items, 1, catalog), "taught": 1.0} for items in altered]
    return datasets.Dataset.from_list(train_rows), datasets.Dataset.from_list(list(window_rows(valid, catalog)))


def _targets(train: datasets.Dataset) -> int:
    """Trained tokens of one epoch."""
    return sum(sum(label >= 0 for label in labels) for labels in train["labels"])


def _arguments(config: SFTConfig, rows: int, targets: int, output: Path) -> TRLConfig:
    # An update has about `batch_tokens` targets, whatever the number of targets per row.
    rows_per_update = max(1, round(config.batch_tokens * rows / targets))
    accumulation = math.ceil(rows_per_update / config.device_batch_rows)
    updates = math.ceil(rows / rows_per_update) * config.epochs
    sharded, recompute = config.sharding == "fsdp", config.gradient_checkpointing == "on"
    return TRLConfig(
        output_dir=str(output),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup_share * updates),
        weight_decay=config.weight_decay,
        per_device_train_batch_size=math.ceil(rows_per_update / accumulation),
        per_device_eval_batch_size=4 * config.device_batch_rows,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=recompute and not sharded,
        bf16=config.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        logging_nan_inf_filter=False,  # a loss that is not a number must be logged
        logging_steps=max(1, updates // config.epochs // 5),
        report_to="none",
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        fsdp=True if sharded else None,  # type: ignore[arg-type]  # annotated as text, meant as a bool
        fsdp_config={**FSDP, "activation_checkpointing": recompute} if sharded else None,
    )


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
