"""TRL's trainer for several processes that divide every batch, so that an update doesn't depend on their number.

The stock trainer gives each process batches of its own, so an update's rows and the mean validation loss depend on the
number of processes. Here the batches are those of a single process: process r of N takes a part of each training batch
and every N-th validation batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from peft import PeftModel
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.utils.data import BatchSampler, DataLoader
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput
from trl import SFTTrainer

from rere.catalog.index import CatalogIndex
from rere.models.heads import head_of
from rere.models.item_tokens import train_by_titles
from rere.models.probe import probe
from rere.runtime import distributed
from rere.training.adaptation import merged
from rere.training.rows import ALIGNED, IGNORED
from rere.training.sft.alignment import AlignedLoss
from rere.training.sft.catalogue_loss import CatalogueLoss

LOSS_KEYS = (ALIGNED, "labels", "node", "target", "taught", "log_probs")  # of a batch, for the loss and not the model
RECOMPUTED = "_checkpoint_wrapped_module."  # part of the names within a layer that is recomputed
FSDP = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # one unit per decoder layer
    "reshard_after_forward": True,
    "state_dict_type": "SHARDED_STATE_DICT",  # read back by any number of processes
}


class SharedTrainer(SFTTrainer):
    """With one process TRL's trainer; with several, its batches divided among them.

    Args:
        catalog: if its items have tokens of their own (code: item), these are trained by their titles too.
        loss: over the catalogue, or with alignment; None for TRL's, over the vocabulary.
    """

    def __init__(
        self, *args: Any, catalog: CatalogIndex, loss: CatalogueLoss | AlignedLoss | None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.catalog, self.loss = catalog, loss

    def create_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        made = self.optimizer is None
        optimiser = super().create_optimizer(*args, **options)
        if made:
            train_by_titles(cast(PreTrainedModel, self.accelerator.unwrap_model(self.model)), self.catalog, optimiser)
        return optimiser

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Nats per trained token; with several micro-batches or processes, their shares of the mean, as in TRL."""
        if self.loss is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]
        loss_inputs = {name: inputs[name] for name in LOSS_KEYS if name in inputs}
        plain = {name: value for name, value in inputs.items() if name not in LOSS_KEYS}
        none = torch.empty(0, dtype=torch.int64, device=inputs["labels"].device)  # the model's logits aren't needed
        out = model(**plain, use_cache=False, output_hidden_states=True, logits_to_keep=none)
        adapted = self.accelerator.unwrap_model(model)
        base = cast(PreTrainedModel, adapted.get_base_model() if isinstance(adapted, PeftModel) else adapted)
        total = self.loss(head_of(base), out.hidden_states[-1], **loss_inputs)
        count = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = total / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * distributed.world()  # gradients are averaged over processes, but the count is of all
        return (loss, {}) if return_outputs else loss

    def get_train_dataloader(self) -> DataLoader[Any]:
        if distributed.world() == 1:
            return super().get_train_dataloader()
        rows, args = cast(datasets.Dataset, self.train_dataset), self.args
        shares = Shares(len(rows), args.per_device_train_batch_size, cast(int, args.data_seed))
        pinned = args.dataloader_pin_memory
        return _Loader(cast(Any, rows), batch_sampler=shares, collate_fn=self.data_collator, pin_memory=pinned)

    def evaluation_loop(
        self, dataloader: DataLoader[Any], description: str, *args: Any, metric_key_prefix: str = "eval", **options: Any
    ) -> EvalLoopOutput:
        """The mean over rows of their batch's mean loss, as in the stock loop."""
        if distributed.world() == 1:
            options["metric_key_prefix"] = metric_key_prefix
            return super().evaluation_loop(dataloader, description, *args, **options)
        rows, size = cast(datasets.Dataset, self.eval_dataset), self.args.per_device_eval_batch_size
        firsts = range(0, len(rows), size)
        own: dict[int, float] = {}
        cast(torch.nn.Module, self.model).eval()
        for turn in range(0, len(firsts), distributed.world()):
            # All processes take equally many turns, because forwards are collective; repeated batches count once.
            first = firsts[min(turn + distributed.rank(), len(firsts) - 1)]
            batch = self.data_collator([rows[n] for n in range(first, min(first + size, len(rows)))])
            loss, _, _ = self.prediction_step(cast(torch.nn.Module, self.model), batch, prediction_loss_only=True)
            own[first] = float(cast(torch.Tensor, loss))
        losses = {first: loss for share in distributed.gathered(own) for first, loss in share.items()}
        each = np.repeat(np.array([losses[first] for first in firsts], dtype=np.float32), size)[: len(rows)]
        metrics = {f"{metric_key_prefix}_loss": float(each.mean())}
        return EvalLoopOutput(cast(Any, None), None, metrics, len(rows))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """As stock, but without a warning on tied weights, which a checkpoint has under another name."""
        tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", {})
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As stock, but create the directory first.

        The trainer looks for the best checkpoint's directory before shards are written to it. Processes that don't find
        it would disagree on the best checkpoint and wait for one another forever.
        """
        Path(output_dir or cast(str, self.args.output_dir)).mkdir(parents=True, exist_ok=True)
        super().save_model(output_dir, _internal_call)

    def whole_model(self) -> tuple[PreTrainedModel, torch.Tensor | None]:
        """The trained model without adapters, wrappers or shards; and its `probe` before adapters were merged.

        Collective, so every rank must call it. If the model is sharded, only the first rank gets the whole model (on
        the CPU), to save it.
        """
        if not self.is_fsdp_enabled:
            # Unwrapped from mixed precision, whose rounding the stored model doesn't have.
            adapted = self.accelerator.unwrap_model(cast(Any, self.model), keep_fp32_wrapper=False)
            trained = probe(adapted)
            return merged(adapted), trained
        model = cast(PreTrainedModel, self.model)
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(cast(torch.nn.Module, model), options=whole)
        if not distributed.is_main():
            return model, None
        with torch.device("meta"):
            plain = AutoModelForCausalLM.from_config(model.config)
        plain.load_state_dict(weights, assign=True)
        plain.tie_weights()
        plain.generation_config = model.generation_config
        for name, buffer in model.named_buffers():  # not in state dicts, and not sharded
            module, _, leaf = name.replace(RECOMPUTED, "").rpartition(".")
            setattr(plain.get_submodule(module), leaf, buffer.detach().cpu())
        return plain, None


class Shares(BatchSampler):
    """This process's rows of each batch of a single process; none if a batch has fewer rows than processes."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.order = SeedableRandomSampler(range(rows), data_seed=seed)  # as in the stock trainer, by seed and epoch
        self.batches = BatchSampler(self.order, batch, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch[distributed.part(len(batch))]

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class _Loader(DataLoader[Any]):
    def set_epoch(self, epoch: int) -> None:
        cast(Shares, self.batch_sampler).set_epoch(epoch)
