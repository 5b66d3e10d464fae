"""SASRec: a causal transformer over item ids, the rival that a language model has to beat.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with these departures:

- Softmax cross-entropy over the whole catalogue in place of one sampled negative. With one negative SASRec
  grows overconfident and is a weak rival; with this loss it overtakes BERT4Rec (Klenitskiy and Vasilev,
  "Turning Dross Into Gold Loss", arXiv 2309.07602; Petrov and Macdonald, "gSASRec", arXiv 2308.07192).
- Pre-norm layers with GELU.
- Positions are counted from the start of the input, and every epoch cuts the sequences at other random places.
  Each position so meets each amount of context: a test history shorter than the training rows is nothing unusual.
- AdamW with a one-cycle learning rate; the weights of the best validation epoch are kept.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from rere.artifacts import seal, verify
from rere.config import SASRecConfig
from rere.errors import RereError
from rere.evaluation.metrics import ndcg, target_ranks
from rere.evaluation.recommender import Ranking
from rere.language_model import default_device

SCORE = "valid_ndcg@10"
ROWS_AT_ONCE = 256  # histories a forward: bounds the (P, I) scores


class SASRecNetwork(nn.Module):
    """Causal transformer whose item embeddings are also its output weights.

    The index one past the last item is padding. It only ever follows the real items, so the causal mask hides it.
    """

    def __init__(self, items: int, config: SASRecConfig) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, config.width, padding_idx=items)
        self.position = nn.Embedding(config.history_items, config.width)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.feed_forward,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        for embedding in (self.item, self.position):
            nn.init.normal_(embedding.weight, std=config.width**-0.5)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 item indices -> (B, T, D): the state after each item."""
        length = items.shape[1]
        states = self.dropout(self.item(items) + self.position.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=items.device)
        return self.layers(states, mask=mask, is_causal=True)

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) states -> (..., I) logits over the catalogue."""
        return states @ self.item.weight[:-1].T


class SASRec:
    """A fitted network as a `Recommender`.

    Args:
        curves: a record an epoch: epoch, train_loss (nats a target), valid_ndcg@10.
    """

    def __init__(
        self,
        network: SASRecNetwork,
        config: SASRecConfig,
        curves: Sequence[dict[str, float]] = (),
        name: str = "SASRec",
    ) -> None:
        self.name, self.config, self.curves = name, config, list(curves)
        self.network = network.eval()

    @property
    def items(self) -> int:
        """Size of the catalogue, I."""
        return self.network.item.num_embeddings - 1

    @torch.inference_mode()
    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; scores are log-probabilities (nats). Of a longer history the last items count."""
        device, width = self.network.item.weight.device, min(k, self.items)
        items = np.full((len(histories), k), -1, dtype=np.int64)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        for start in range(0, len(histories), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            recent = [list(history)[-self.config.history_items :] for history in histories[part]]
            last = torch.tensor([len(history) - 1 for history in recent], device=device)
            states = self.network(_padded(recent, self.items).to(device))
            top = (
                self.network.scores(states[torch.arange(len(recent), device=device), last]).log_softmax(-1).topk(width)
            )
            items[part, :width] = top.indices.cpu().numpy()
            scores[part, :width] = top.values.cpu().numpy()
        return Ranking(items, scores)

    def save(self, directory: Path) -> None:
        """Weights as safetensors, settings and curves as JSON; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.cpu().contiguous() for name, weight in self.network.state_dict().items()}
        save_file(weights, directory / "sasrec.safetensors")
        facts = {"items": self.items, "config": self.config.model_dump(mode="json"), "curves": self.curves}
        (directory / "sasrec.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> SASRec:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        facts = json.loads((directory / "sasrec.json").read_text(encoding="utf-8"))
        config = SASRecConfig.model_validate(facts["config"])
        network = SASRecNetwork(facts["items"], config).to(default_device())
        network.load_state_dict(load_file(directory / "sasrec.safetensors", device=str(default_device())))
        return cls(network, config, facts["curves"])


def fit_sasrec(
    sequences: Sequence[np.ndarray],
    items: int,
    valid_histories: Sequence[Sequence[int]],
    valid_targets: Sequence[int],
    config: SASRecConfig,
) -> SASRec:
    """Train on users' sequences of item indices, oldest first; keep the epoch with the best validation NDCG@10.

    The same arguments give the same weights on the same machine and thread count; the global random state is left
    as it was.

    Raises:
        RereError: no sequence of two items, no validation rows, or a loss that diverges.
    """
    usable = [np.asarray(sequence, dtype=np.int64) for sequence in sequences if len(sequence) > 1]
    if not usable or not len(valid_targets):
        raise RereError(
            "training sequences of at least two items, and validation rows",
            f"{len(usable)} sequences and {len(valid_targets)} rows",
            "use more data, another split or a smaller k-core",
        )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = SASRec(SASRecNetwork(items, config).to(default_device()), config)
        epochs = [_cuts(usable, config, epoch) for epoch in range(config.epochs)]
        updates = sum(-(-len(rows) // config.batch_rows) for rows in epochs)
        optimiser = torch.optim.AdamW(
            model.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, updates, pct_start=0.1)
        best, best_score, best_epoch = copy.deepcopy(model.network.state_dict()), -1.0, 0
        bar = tqdm(enumerate(epochs, 1), total=config.epochs, desc="SASRec", unit="epoch")
        for epoch, rows in bar:
            batches = (rows[start : start + config.batch_rows] for start in range(0, len(rows), config.batch_rows))
            loss = _train_epoch(model.network, optimiser, schedule, batches, config)
            if not np.isfinite(loss):
                raise RereError("a finite training loss", f"{loss} in epoch {epoch}", "lower `sasrec.learning_rate`")
            ranks = target_ranks(model.recommend(valid_histories, 10).items, np.asarray(valid_targets))
            score = float(ndcg(ranks, 10).mean())
            model.curves.append({"epoch": epoch, "train_loss": loss, SCORE: score})
            if score > best_score:
                best, best_score, best_epoch = copy.deepcopy(model.network.state_dict()), score, epoch
            bar.set_postfix(loss=f"{loss:.3f}", best=f"{best_score:.4f}")
            if epoch - best_epoch >= config.patience:
                break
        bar.close()
    model.network.load_state_dict(best)
    return model


def _train_epoch(
    network: SASRecNetwork,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    batches: Iterable[Sequence[np.ndarray]],
    config: SASRecConfig,
) -> float:
    """One pass over rows of items, each the target of those before it; returns the mean loss, in nats a target."""
    network.train()
    total, count, padding = 0.0, 0, network.item.num_embeddings - 1
    for rows in batches:
        tokens = _padded(rows, padding).to(network.item.weight.device)
        targets = tokens[:, 1:]
        real = targets != padding
        logits = network.scores(network(tokens[:, :-1])[real])
        loss = functional.cross_entropy(logits, targets[real])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total, count = total + float(loss.detach()) * len(logits), count + len(logits)
    network.eval()
    return total / count


def _cuts(sequences: Sequence[np.ndarray], config: SASRecConfig, epoch: int) -> list[np.ndarray]:
    """An epoch's rows, shuffled: views of up to `history_items` + 1 items, cut from a random place on.

    Neighbours share an item, so that every item but a sequence's first is a target once.
    """
    random, step = np.random.default_rng((config.seed, epoch)), config.history_items
    rows: list[np.ndarray] = []
    for sequence in sequences:
        end = len(sequence) - 1
        cuts = [0, *range(int(random.integers(1, step + 1)), end, step), end]
        rows += [sequence[low : high + 1] for low, high in itertools.pairwise(cuts)]
    return [rows[place] for place in random.permutation(len(rows))]


def _padded(rows: Sequence[Sequence[int] | np.ndarray], padding: int) -> torch.Tensor:
    """(B, T) int64, padded after the end."""
    return nn.utils.rnn.pad_sequence(
        [torch.as_tensor(np.asarray(row, dtype=np.int64)) for row in rows], batch_first=True, padding_value=padding
    )
