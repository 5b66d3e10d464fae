"""Preference training: the fine-tuned model learns to prefer the target to rejected items.

Rafailov et al., "Direct Preference Optimization", arXiv 2305.18290; Chen et al., "On Softmax Direct Preference
Optimization for Recommendation" (S-DPO), arXiv 2406.09215; further losses in `losses`. The reference is the start and
never changes.

Target and negatives are branches of one token tree per prompt, for the policy and for the reference; trl's DPOTrainer
runs the prompt again for each candidate, and has no loss over several negatives.

Departs from the papers: the best validation NDCG@10 is kept, and the start counts as a candidate.

Axes: P prompts, G negatives; candidates are (P, 1 + G), the target first. B prompts of the whole micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import SearchSettings
from rere.config.preference import PreferenceConfig, SimilarUsersNegatives
from rere.data.dataset import Windows
from rere.decoding.beam import beam_search
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.tree_log_probs import group_tree
from rere.models.trunks import Prompts
from rere.runtime import distributed, in_processes
from rere.runtime.launch import Log
from rere.training.loop import PROMPTS, PolicyRun, Tally
from rere.training.preference.in_batch import shared_negatives
from rere.training.preference.losses.base import PreferenceInputs, PreferenceLoss

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def train_preference(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, config: PreferenceConfig, work: Path, *, log: Log
) -> Checkpoint:
    """Train further from `start`, the fine-tuned model; resumes a run found in `work`.

    Returns:
        The policy with the best validation NDCG@10, adapters merged, sealed; `curves` has one record per update.

    Raises:
        RereError: no training or validation rows, a single item, an altered start, prompts that don't fit into the
            model's context, weights that diverge, or a process that failed.
    """
    result = work / "model"
    if done := Checkpoint.finished(result):
        return done
    if catalog.trie.items < 2:
        raise RereError("a catalogue of at least two items", "a single one", "use more data or a smaller k-core")
    if config.launcher.starts_workers and not distributed.is_worker():
        inputs: dict[str, in_processes.Saveable] = {"windows": windows, "catalog": catalog}
        spec = {"start": str(start.path.resolve())}
        in_processes.run(f"{__name__}:worker", inputs, config, work, spec, log=log)
        return Checkpoint(result)
    run = _Run(start, windows, catalog, config, work / "progress", log=log)
    run.train()
    return run.finish(result)


def worker(spec: dict[str, Any], log: Log) -> None:
    """The part of one process of several."""
    inputs = in_processes.inputs_of(spec)
    windows, catalog = Windows.load(inputs / "windows"), CatalogIndex.load(inputs / "catalog")
    config = PreferenceConfig.model_validate(spec["config"])
    train_preference(Checkpoint(Path(spec["start"])), windows, catalog, config, Path(spec["work"]), log=log)


def random_negatives(
    rows: Int[np.ndarray, " P"], targets: Int[np.ndarray, " P"], items: int, count: int, seed: int
) -> Int[np.ndarray, "P G"]:
    """(P, count) distinct item indices, uniform over the catalogue without the target.

    A row's draw depends on the seed and the row, not on the other rows of its batch.

    Args:
        rows, targets: (P,) training rows and their targets; items: I; count: at most I - 1.
    """
    drawn = [np.random.default_rng((seed, int(row))).choice(items - 1, count, replace=False) for row in rows]
    negatives = np.stack(drawn)
    return negatives + (negatives >= targets[:, None])  # skip the target


def without_target(ranked: Int[Tensor, "P 1+G"], targets: Int[Tensor, " P"]) -> Int[Tensor, "P G"]:
    """(P, 1 + G) distinct ranked items, (P,) targets -> (P, G): the target left out, else the last item."""
    order = torch.argsort((ranked == targets[:, None]).int(), dim=1, stable=True)
    return ranked.gather(1, order)[:, :-1]


class _Run(PolicyRun[PreferenceConfig]):
    name = "preference"
    bar_fields = ("loss", "preferred")
    # margin: implicit reward of the target over its best negative; preferred: share of margins above 0; negatives: how
    # many the target was compared with
    means: ClassVar[Mapping[str, str]] = dict.fromkeys(("margin", "preferred", "target_log_prob", "negatives"), PROMPTS)

    def micro_step(self, rows: np.ndarray, count: int, tally: Tally) -> None:
        self.model.eval()
        with self.reference.in_place(), self.precision():
            candidates, forwarded = self._candidates(rows)
            if not len(rows):
                return
            tree = group_tree(self.trie, self.prompts(rows), candidates, "vocab", self.tree_model.dtype)
            reference = self.scorer(tree).sum(2)
        self.model.train()
        with self.precision():
            policy = self.scorer(tree).sum(2)
        given = PreferenceInputs(policy, reference, candidates >= 0, self.config.beta)
        assert isinstance(self.config.loss, PreferenceLoss)
        loss = self.config.loss(given).sum() / count
        loss.backward()
        margins = -self.config.beta * given.over_target.detach().amax(1)
        tally["loss"] += float(loss.detach())
        tally["margin"] += float(margins.sum())
        tally["preferred"] += int((margins > 0).sum())
        tally["target_log_prob"] += float(policy.detach()[:, 0].sum())
        tally["negatives"] += float(given.valid[:, 1:].sum())
        tally["tokens"] += forwarded + 2 * len(tree.tokens)

    def _candidates(self, rows: np.ndarray) -> tuple[Int[Tensor, "P 1+G"], int]:
        """Targets and negatives, -1 where there are fewer; and the number of tokens run for them.

        With negatives in common it is collective: each process of a micro-batch must call it, also without rows.
        """
        targets, forwarded = self.targets[rows].to(self.tree_model.device), 0
        negatives = targets[:, None][:, :0]
        if len(rows):
            negatives, forwarded = self._negatives(rows, self.prompts(rows), targets)
        candidates = torch.cat([targets[:, None], negatives], 1)
        if not isinstance(self.config.in_batch, SimilarUsersNegatives):
            return candidates, forwarded
        vectors = self._user_vectors(rows)
        gathered = distributed.gathered((distributed.rank(), negatives.cpu(), vectors.cpu()))
        every = [one for one in gathered if len(one[1])]  # a process without rows has none
        if not len(rows):
            return candidates, forwarded
        more = shared_negatives(
            candidates,
            vectors,
            torch.cat([one[1] for one in every]).to(candidates.device),
            torch.cat([one[2] for one in every]).to(candidates.device),
            first=sum(len(own) for rank, own, _ in every if rank < distributed.rank()),
            share=self.config.in_batch.share,
        )
        return torch.cat([candidates, more], 1), forwarded

    def _user_vectors(self, rows: np.ndarray) -> Float[Tensor, "P width"]:
        """(P, width) unit vectors: each prompt's mean embedding of its history's tokens, by the reference's weights."""
        weights = cast(torch.Tensor, self.model.get_input_embeddings().weight)
        tokens = self.catalog.item_tokens
        vectors = [
            weights[[token for item in self.histories[row] for token in tokens[item]]].float().mean(0) for row in rows
        ]
        if not vectors:
            return weights.new_zeros((0, weights.shape[1]), dtype=torch.float32)
        return torch.nn.functional.normalize(torch.stack(vectors), dim=1)

    def _negatives(self, rows: np.ndarray, prompts: Prompts, targets: torch.Tensor) -> tuple[torch.Tensor, int]:
        """(P, G) negatives, fewer than configured if the catalogue is small; and the number of tokens run for them."""
        count = min(self.config.negatives, self.trie.items - 1)
        if self.config.source == "random":
            seed = self.config.seed * 1_000_003 + self.update
            drawn = random_negatives(rows, targets.cpu().numpy(), self.trie.items, count, seed)
            return torch.from_numpy(drawn).to(targets.device), 0
        found = beam_search(self.tree_model, self.trie, prompts, SearchSettings(beams=count + 1))
        return without_target(found.items, targets), found.forwarded
