"""Reasoning before recommending: a recommendation head learns to rank, and rewards the texts that help it.

After RPORec (Gao et al., arXiv 2605.21967), which has two stages: a head learns to recommend with the help of
reasonings, then its verdict on the target is the verifiable reward by which RL refines the reasonings. Here, on each
prompt of an update:

    G reasonings are drawn from the policy, each at most `tokens` long
    head loss = mean over them of -log head(target | prompt, reasoning)     trains the head, and the model through it
    reward    = the head's log-probability of the target, or 1 / log2(1 + its rank)
    writing   = GRPO (arXiv 2402.03300) on the reasonings' tokens, with a k3 KL to the start

and their sum is minimised. In the first `head_updates` advantages are 0: rewards of a head that has learned nothing say
nothing. A reward is that of the policy as it is used: without dropout.

Written from the paper's abstract, so no replica. Choices of this project: the model's own text is what the head learns
from, where the paper has better reasonings generated for it; the head goes on learning during RL, since the states
that it reads move; it begins as the mean of each item's tokens in the language-model head. The best validation NDCG@10
is kept, and the start counts as a candidate.

Axes: P prompts, G reasonings per prompt, L tokens of the longest one, I items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex
from rere.config.reasoning import ReasoningConfig
from rere.data.dataset import Windows
from rere.decoding.reasoning import ReasoningTree, read, reasoning_tree, write
from rere.models.checkpoint import Checkpoint
from rere.models.context import longest_prompt
from rere.models.recommendation_head import FILE, RecommendationHead, Writing
from rere.recommenders.base import Recommender
from rere.recommenders.reasoning import ReasoningRecommender
from rere.runtime.launch import Log
from rere.training.checkpoint import Weights, trainable
from rere.training.loop import PROMPTS, PolicyRun, Tally
from rere.training.rl.advantages.group_std import GroupStd
from rere.training.rl.losses.base import Counts, LossInputs
from rere.training.rl.losses.grpo import GRPO

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

NAME = "recommendation_head"  # of the module that the head is in the model that trains


def train_reasoning(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, config: ReasoningConfig, work: Path, *, log: Log
) -> Checkpoint:
    """Train a head and a writer from `start`, a fine-tuned or a pretrained model; resumes a run found in `work`.

    Returns:
        The model with the best validation NDCG@10, adapters merged, with its head beside it, sealed; `curves` has one
        record per update. `ReasoningRecommender.load` reads it.

    Raises:
        RereError: no training or validation rows, an altered start, prompts that don't fit into the model's context
            with a reasoning, or weights that diverge.
    """
    result = work / "model"
    if done := Checkpoint.finished(result):
        return done
    run = _Run(start, windows, catalog, config, work / "progress", log=log)
    run.train()
    return run.finish(result)


@dataclass(frozen=True)
class Objective:
    """What an update minimises, over P prompts.

    head_losses: (P,) mean over reasonings of the target's negative log-probability by the head (nats)
    scored: the reasonings as GRPO sees them
    """

    head_losses: Float[Tensor, " P"]
    scored: LossInputs

    @property
    def loss(self) -> Float[Tensor, ""]:
        """The sum over prompts of both parts; GRPO's is a mean over reasonings."""
        return self.head_losses.sum() + GRPO()(self.scored) * len(self.head_losses)


def objective(
    given: ReasoningTree,
    policy: Float[Tensor, "P G L"],
    reference: Float[Tensor, "P G L"],
    *,
    log_probs: Float[Tensor, "P G I"],
    reward: Float[Tensor, "P G"],
    targets: Int[Tensor, " P"],
    beta: float,
    rewarded: bool,
) -> Objective:
    """See the module.

    Args:
        policy, reference: log-probabilities of what was written (nats), as `read` gives them.
        log_probs: the head's, of all items.
        rewarded: False: advantages are 0, and only the KL holds the writing.
    """
    every = torch.ones_like(reward, dtype=torch.bool)
    scored = LossInputs(
        policy=policy,
        reference=reference,
        mask=given.written,
        nodes=given.tree.path,
        hits=~every,
        reached=~every[:, 0],
        reward=reward,
        advantages=GroupStd()(reward, every) * rewarded,
        valid=every,
        counts=Counts.of(given.written),
        beta=beta,
    )
    return Objective(-_of_targets(log_probs, targets).mean(1), scored)


def rewards_of(
    log_probs: Float[Tensor, "P G I"], targets: Int[Tensor, " P"], config: ReasoningConfig
) -> Float[Tensor, "P G"]:
    """(P, G) each reasoning's reward by the head's log-probabilities of all items after it."""
    own = _of_targets(log_probs, targets)
    if config.reward == "log_probability":
        return own
    return 1 / torch.log2(2.0 + (log_probs > own[:, :, None]).sum(2))


def _of_targets(log_probs: Float[Tensor, "P G I"], targets: Int[Tensor, " P"]) -> Float[Tensor, "P G"]:
    return log_probs.gather(2, targets[:, None, None].expand(-1, log_probs.shape[1], 1))[:, :, 0]


class _Run(PolicyRun[ReasoningConfig]):
    name = "reasoning"
    bar_fields = ("reward", "head_loss")
    means: ClassVar[Mapping[str, str]] = {
        "head_loss": PROMPTS,
        "reward": PROMPTS,
        "frac_reward_zero_std": PROMPTS,
        "kl": "reasoning_tokens",
        "reasoning_tokens": "texts",
        "ended": "texts",  # before their budget did
    }

    def __init__(self, *given: Any, log: Log) -> None:
        super().__init__(*given, log=log)
        self.tree_model.require_room(longest_prompt(self.windows, self.catalog) + self.head.writing.room)

    @property
    def head(self) -> RecommendationHead:
        """It is part of the model that trains, so that checkpoints have it."""
        return cast(RecommendationHead, getattr(self.model, NAME))

    def model_to_train(self) -> PreTrainedModel | PeftModel:
        model = super().model_to_train()
        base = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
        writing = Writing.of(self.catalog, self.config)
        cast(torch.nn.Module, model).add_module(NAME, RecommendationHead.untrained(base, self.catalog, writing))
        return model

    def weights_to_train(self) -> list[dict[str, Any]]:
        by_name = trainable(self.model)
        head = [weight for name, weight in by_name.items() if name.startswith(NAME)]
        others = [weight for name, weight in by_name.items() if not name.startswith(NAME)]
        return [{"params": others}, {"params": head, "lr": self.config.head_learning_rate}]

    def without_additions(self) -> dict[str, Weights]:
        tensors = self.head.tensors()
        delattr(self.model, NAME)
        return {FILE: tensors}

    def recommender(self) -> Recommender:
        return ReasoningRecommender("validation", self.tree_model, self.head, self.catalog)

    def micro_step(self, rows: np.ndarray, count: int, tally: Tally) -> None:
        config, writing = self.config, self.head.writing
        prompts = cast(list[list[int]], self.prompts(rows))
        targets = self.targets[rows].to(self.tree_model.device)
        self.model.eval()
        with self.precision():
            reasonings = write(
                self.tree_model, prompts, writing, group=config.num_generations, seed=self.draw_seed(rows)
            )
        given = reasoning_tree(self.tree_model, prompts, reasonings, writing)
        with torch.no_grad(), self.precision():
            reward = rewards_of(self.head(read(self.tree_model, given)[1]), targets, config)
        with self.reference.in_place(), self.precision():
            reference = read(self.tree_model, given)[0]
        self.model.train()
        with self.precision():
            policy, states = read(self.tree_model, given)
            log_probs = self.head(states)
        found = objective(
            given,
            policy,
            reference,
            log_probs=log_probs,
            reward=reward,
            targets=targets,
            beta=config.beta,
            rewarded=self.update >= config.head_updates,
        )
        loss = found.loss / count
        loss.backward()
        texts = [own for group in reasonings for own in group]
        tally["loss"] += float(loss.detach())
        tally["head_loss"] += float(found.head_losses.detach().sum())
        tally["reward"] += float(reward.mean(1).sum())
        tally["frac_reward_zero_std"] += float((reward.std(1) < 1e-6).sum())
        tally["kl"] += float(found.scored.divergence.detach().sum())
        tally["reasoning_tokens"] += float(given.written.sum())
        tally["texts"] += len(texts)
        tally["ended"] += sum(bool(own) and own[-1] == writing.end for own in texts)
        tally["tokens"] += float(sum(map(len, prompts)) + given.written.sum() + 3 * len(given.tree.tokens))
