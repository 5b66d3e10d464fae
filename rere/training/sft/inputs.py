"""What the trainer of a fine-tuning is given: rows, how they are made into batches, the loss, and its arguments."""

from __future__ import annotations

import math
from pathlib import Path

import datasets
import torch
from transformers import PreTrainedModel
from trl import SFTConfig as TRLConfig

from rere.catalog.index import CatalogIndex
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.data.user_draws import is_kept
from rere.errors import RereError
from rere.recommenders.base import Recommender
from rere.recommenders.item_models import ItemModels
from rere.training.instructions import HeadDraw
from rere.training.rows import ALIGNED, FOLD, NUMBER, Collator, sequence_rows, window_rows
from rere.training.sft.alignment import AlignedLoss, alignment_rows
from rere.training.sft.altered import NewItems
from rere.training.sft.catalogue_loss import CatalogueCollator, CatalogueLoss
from rere.training.sft.taught import taught_rows
from rere.training.sft.teacher import Teacher
from rere.training.sft.trainer import FSDP


class OnOneDevice(TRLConfig):
    """One process trains on one device: the stock trainer would spread each forward over all GPUs that it sees, with
    as many times the rows per update. Several GPUs are for `launcher`."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


def datasets_of(
    windows: Windows, catalog: CatalogIndex, config: SFTConfig, teacher: Recommender | None = None
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Training and validation rows; RereError where there are none.

    Args:
        teacher: that is asked for its distribution; a cross-fitted one needs each row's fold.
    """
    every, valid = windows.of("train"), windows.of("valid")
    train = every[~is_kept(every["user_id"], config.kept_users)].reset_index(drop=True) if config.kept_users else every
    for name, rows in {"training": train, "validation": valid}.items():
        if not len(rows):
            fewer = " or a smaller `kept_users`" if config.kept_users else ""
            remedy = f"use more data, another split, a smaller k-core{fewer}"
            raise RereError(f"at least one {name} window", "none", remedy)
    if len(valid) > config.validation_rows:
        valid = valid.sample(config.validation_rows, random_state=config.seed)
    if (taught := config.distillation) is not None:
        taken = set(every["target"]).union(*every["history"])  # by all users, those kept from this training too
        train_rows = list(
            taught_rows(
                train,
                catalog,
                config,
                taught=taught,
                history_items=windows.history_items,
                new=NewItems.of(
                    [catalog.index_of[item] for item in taken],
                    valid["target"].map(catalog.index_of).tolist(),
                    len(catalog.items),
                ),
                teacher=teacher,
            )
        )
    elif config.rows == "window":
        train_rows = list(window_rows(train, catalog))
    else:
        train_rows = list(sequence_rows(train, catalog, windows.history_items, config.sequence_items))
    if catalog.further_heads:
        train_rows = [{**row, NUMBER: number} for number, row in enumerate(train_rows)]
    if config.alignment is not None:
        train_rows = [{**row, ALIGNED: 0.0} for row in train_rows]
        like = {"taught": 0.0, FOLD: 0}
        keys = {*train_rows[0], ALIGNED} - {NUMBER}
        asked = alignment_rows(catalog, config.alignment)
        train_rows += [{name: value for name, value in {**row, **like}.items() if name in keys} for row in asked]
    return datasets.Dataset.from_list(train_rows), datasets.Dataset.from_list(list(window_rows(valid, catalog)))


def trained_tokens(train: datasets.Dataset) -> int:
    """Trained tokens of one epoch."""
    return sum(sum(label >= 0 for label in labels) for labels in train["labels"])


def collator(windows: Windows, catalog: CatalogIndex, config: SFTConfig, teacher: ItemModels | None) -> Collator:
    """The collator that makes batches of rows."""
    draw = HeadDraw(catalog, config.seed, epoch=0) if catalog.further_heads else None
    if config.normalisation == "vocab":
        return Collator(_pad(catalog), windows.history_items, draw)
    own_teacher = None
    if config.distillation and teacher is not None:
        own_teacher = Teacher(teacher.alone(), len(catalog.items))
    return CatalogueCollator(_pad(catalog), windows.history_items, catalog, own_teacher, draw)


def loss_of(model: PreTrainedModel, catalog: CatalogIndex, config: SFTConfig) -> CatalogueLoss | AlignedLoss | None:
    """The loss; None for the trainer's own, over the vocabulary."""
    items = None
    if config.normalisation == "trie":
        temperature = config.distillation.temperature if config.distillation else 1.0
        items = CatalogueLoss(catalog.trie.to(model.device), temperature)
    return items if config.alignment is None else AlignedLoss(items)


def arguments(config: SFTConfig, rows: int, targets: int, output: Path) -> TRLConfig:
    """TRL's settings for so many rows and trained tokens (`targets`)."""
    # An update has about `batch_tokens` targets, whatever the number of targets per row.
    rows_per_update = max(1, round(config.batch_tokens * rows / targets))
    accumulation = math.ceil(rows_per_update / config.device_batch_rows)
    updates = math.ceil(rows / rows_per_update) * config.epochs
    sharded, recompute = config.sharding == "fsdp", config.gradient_checkpointing == "on"
    return OnOneDevice(
        output_dir=str(output),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup(updates),
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


def _pad(catalog: CatalogIndex) -> int:
    """A token to pad rows with; any token works, because padding is masked out."""
    pad = catalog.tokenizer.pad_token_id
    return 0 if pad is None else pad
