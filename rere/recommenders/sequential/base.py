"""What the neural rivals share: one fit, one recommender, one file format. A network supplies its forward.

The loss is softmax cross-entropy over the whole catalogue and the output weights are the item embeddings; AdamW with
a one-cycle learning rate; the weights of the best validation epoch are kept. The rivals so differ in nothing but how
they read a history.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rere.config.recommenders import SequentialConfig
from rere.errors import RereError
from rere.models.loading import default_device
from rere.recommenders.item_model import SCORE, FitData, ItemModel, source_sum
from rere.recommenders.sequential.networks import Rows, SequentialNetwork
from rere.runtime.progress import progress


class SequentialRecommender(ItemModel):
    """A fitted network; a model's own class names its network and settings.

    Args:
        curves: a record per epoch: epoch, train_loss (nats per target), valid_ndcg@10.
    """

    network_type: ClassVar[type[SequentialNetwork]]
    config_type: ClassVar[type[SequentialConfig]]

    def __init__(
        self,
        network: SequentialNetwork,
        config: SequentialConfig,
        curves: Sequence[dict[str, float]] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(network.padding, config, curves, name)
        self.network = network.eval()

    @classmethod
    def fit(cls, data: FitData, config: SequentialConfig) -> Self:
        """See `fit_sequential`."""
        return fit_sequential(cls, data, config)

    @torch.inference_mode()
    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """See `ItemModel`. Of a longer history the last items count."""
        recent = [list(history)[-self.config.history_items :] for history in histories]
        scores = self.network.scores(self.network.last_states(recent)).log_softmax(-1)
        return scores.float().cpu().numpy()

    def code(self) -> str:
        """SHA-256 of the project's files that the model's and its network's classes are in."""
        return source_sum(type(self), self.network_type)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The network's weights."""
        return self.network.state_dict()

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], items: int, config: SequentialConfig) -> Self:
        """The model with these weights, on the device at hand."""
        network = cls.network_type(items, config).to(default_device())
        network.load_state_dict(tensors)
        return cls(network, config)


Model = TypeVar("Model", bound=SequentialRecommender)


def fit_sequential(model_type: type[Model], data: FitData, config: SequentialConfig) -> Model:
    """Train on users' sequences; keep the epoch with the best validation NDCG@10.

    The same arguments give the same weights on the same machine and thread count; the global random state is left
    as it was.

    Raises:
        RereError: no sequence of two items, no validation rows, or a loss that diverges.
    """
    usable = [np.asarray(sequence, dtype=np.int64) for sequence in data.sequences if len(sequence) > 1]
    if not usable or not len(data.valid_targets):
        raise RereError(
            "training sequences of at least two items, and validation rows",
            f"{len(usable)} sequences and {len(data.valid_targets)} rows",
            "use more data, another split or a smaller k-core",
        )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = model_type(model_type.network_type(data.items, config).to(default_device()), config)
        network = model.network
        epochs = [network.rows(usable, config, epoch) for epoch in range(config.epochs)]
        updates = sum(-(-len(rows) // config.batch_rows) for rows in epochs)
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        warmup = 0.1 if updates != 10 else 0.2  # torch divides by zero where the warm-up is exactly one update
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, updates, pct_start=warmup)
        best, best_score, best_epoch = copy.deepcopy(network.state_dict()), -1.0, 0
        bar = progress(enumerate(epochs, 1), total=config.epochs, desc=model.name, unit="epoch")
        for epoch, rows in bar:
            batches = (rows[start : start + config.batch_rows] for start in range(0, len(rows), config.batch_rows))
            loss = _train_epoch(network, optimiser, schedule, batches)
            if not np.isfinite(loss):
                raise RereError(
                    "a finite training loss", f"{loss} in epoch {epoch}", f"lower the `learning_rate` of {model.kind()}"
                )
            score = data.score(model)
            model.curves.append({"epoch": epoch, "train_loss": loss, SCORE: score})
            data.log(model.kind(), model.curves[-1])
            if score > best_score:
                best, best_score, best_epoch = copy.deepcopy(network.state_dict()), score, epoch
            bar.set_postfix(loss=f"{loss:.3f}", best=f"{best_score:.4f}", refresh=False)
            if epoch - best_epoch >= config.patience:
                break
        bar.close()
    network.load_state_dict(best)
    return model


def _train_epoch(
    network: SequentialNetwork,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    batches: Iterable[Rows],
) -> float:
    """One pass over the rows; returns the mean loss, in nats per target."""
    network.train()
    total, count = 0.0, 0
    for rows in batches:
        states, targets = network.examples(rows)
        loss = functional.cross_entropy(network.scores(states), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total, count = total + float(loss.detach()) * len(targets), count + len(targets)
    network.eval()
    return total / count
