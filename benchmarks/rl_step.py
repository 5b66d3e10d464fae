"""A whole RL step (rollout, reference, policy forward and backward, update): ours, the usual way, the floor.

    python -m benchmarks.rl_step [--quick] [--json PATH]

The floor is bare: one forward of the tokens that the rollout must run, one forward (reference) and one
forward and backward (policy) of prompt + unique nodes in plain causal rows, the head where a probability
counts, and the optimiser's step. The usual way accumulates gradients prompt by prompt: all rows at once need
more memory than 24 GiB. Ours accumulates them two prompts at a time (`--at-once`; in the pipeline
`device_batch_prompts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks import usual
from benchmarks.common import add_sizes, arguments, interleaved, prepare, random_prompts, save, show, sizes, subject
from benchmarks.decoding import bare_forward
from rere.config.decoding import SearchSettings
from rere.config.rl import RankingReward, RuleReward
from rere.decoding.beam import beam_search
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.training.checkpoint import Reference
from rere.training.rl.group import Group
from rere.training.rl.losses import Counts, grpo, k3
from rere.training.rl.rewards import group_advantages, total_reward

BETA = 1e-3
REWARDS = (RuleReward(), RankingReward())


def advantages_of(hits: torch.Tensor) -> torch.Tensor:
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device).expand_as(hits)
    group = Group(rank - 1, hits.int().argmax(1), hits, rank, torch.ones_like(hits))
    return group_advantages(total_reward(REWARDS, group), group.valid)


class Step:
    """One model, its optimiser (SGD: no state to fill the first time), and the prompts with their targets."""

    def __init__(
        self, model: TreeModel, catalog: Any, prompts: Sequence[Sequence[int]], group: int, mode: Any, at_once: int
    ) -> None:
        self.at_once = at_once
        self.model, self.catalog, self.prompts, self.group, self.mode = model, catalog, prompts, group, mode
        self.trie = catalog.trie.to(model.device)
        # The third beam is the target, so that every group has a hit and a gradient.
        found = beam_search(model, self.trie, prompts, SearchSettings(beams=group, normalisation=mode))
        self.targets, self.required = found.items[:, 2].clone(), found.required
        self.tree = group_tree(self.trie, prompts, found.items, mode, model.dtype)
        self.reference = Reference(model.model)
        self.optimiser = torch.optim.SGD(model.model.parameters(), lr=0.0)
        self.scorer = TreeLogProbs(model)

    def ours(self) -> float:
        found = beam_search(
            self.model, self.trie, self.prompts, SearchSettings(beams=self.group, normalisation=self.mode)
        )
        hits = found.items == self.targets[:, None]
        for first in range(0, len(self.prompts), self.at_once):  # as `device_batch_prompts` does
            part = slice(first, first + self.at_once)
            tree = group_tree(self.trie, self.prompts[part], found.items[part], self.mode, self.model.dtype)
            with self.reference.in_place():
                reference = self.scorer(tree)
            policy = self.scorer(tree)
            penalty = BETA * k3(policy, reference) * tree.mask
            loss = grpo(policy, tree.mask, advantages_of(hits[part]), penalty, Counts.of(tree.mask))
            (loss * len(hits[part]) / len(hits)).backward()
        return self._update()

    def usual(self) -> float:
        items = self.catalog.item_tokens
        groups, _ = usual.beam_search(self.model.model, items, self.prompts, self.group, self.mode)
        for prompt, candidates, target in zip(self.prompts, groups, self.targets.tolist(), strict=True):
            hits = torch.tensor([[c == tuple(items[target]) for c in candidates]], device=self.model.device)
            with self.reference.in_place():
                reference, _ = usual.candidate_log_probs(self.model.model, prompt, candidates, items[0][-1])
            policy, mask = usual.candidate_log_probs(self.model.model, prompt, candidates, items[0][-1])
            penalty = BETA * k3(policy, reference) * mask
            one = Counts.of(mask[None])
            loss = grpo(policy[None], mask[None], advantages_of(hits), penalty[None], one) / len(self.prompts)
            loss.backward()
        return self._update()

    def floor(self) -> None:
        nodes = self.required - sum(map(len, self.prompts))
        bare_forward(self.model, len(self.prompts), self.required, len(self.prompts) + nodes * (self.mode == "vocab"))
        count, tokens, heads = len(self.prompts), len(self.tree.tokens), len(self.tree.hidden_at)
        with self.reference.in_place():
            bare_forward(self.model, count, tokens, heads)
        ids = torch.arange(count * (tokens // count), device=self.model.device).view(count, -1) % 1000 + 5
        hidden = self.model.body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
        torch.log_softmax(self.model.head(hidden[:heads]).float(), -1)[:, 7].sum().backward()
        self._update()

    def _update(self) -> float:
        """Clip, step; returns the gradient's norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(norm)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--at-once", type=int, default=2, help="prompts per forward and backward of ours (default 2)")
    parser.add_argument("--modes", nargs="+", choices=("vocab", "trie"), default=None)
    options = parser.parse_args()
    prepare(options)
    count, length, group = sizes(options, quick_prompts=1)
    model, catalog = subject(options.backbone, options.dtype)
    prompts = random_prompts(catalog, count, length, options.seed)

    rows, figures = [], {}
    for mode in options.modes or (("vocab",) if options.quick else ("vocab", "trie")):
        step = Step(model, catalog, prompts, group, mode, options.at_once)
        norms: dict[str, float] = {}

        def ours(step: Step = step, norms: dict[str, float] = norms) -> None:
            norms["ours"] = step.ours()

        def usual_way(step: Step = step, norms: dict[str, float] = norms) -> None:
            norms["usual"] = step.usual()

        ways: dict[str, Callable[[], None]] = {"usual": usual_way, "ours": ours, "floor": step.floor}
        measured = interleaved(ways, options.repeats)
        seconds = {name: way.seconds for name, way in measured.items()}
        memory = {name: measured[name].peak_mib for name in ("usual", "ours")}
        figures[mode] = {
            "seconds": seconds,
            "ratio_vs_usual": seconds["usual"] / seconds["ours"],
            "ratio_to_floor": seconds["ours"] / seconds["floor"],
            "peak_memory_mib": memory,
            "peak_memory_ratio": memory["ours"] / memory["usual"],
            "gradient_norm_usual": norms["usual"],
            "gradient_norm_ours": norms["ours"],
        }
        rows.append(
            [
                mode,
                *(seconds[name] for name in ("usual", "ours", "floor")),
                f"{figures[mode]['ratio_vs_usual']:.1f}x",
                f"{figures[mode]['ratio_to_floor']:.2f}x",
                f"{memory['ours']:.0f} / {memory['usual']:.0f}",
                f"{abs(norms['ours'] - norms['usual']):.1e}",
            ]
        )
    show(
        f"RL step, {options.backbone} {options.dtype}, {count} prompts of about {length} tokens, G = {group}; "
        f"median of {options.repeats} (under `trie` the usual loss is still over the full vocabulary)",
        ["log-probabilities", "usual s", "ours s", "floor s", "faster", "to floor", "peak MiB", "gradient norm gap"],
        rows,
    )
    save(options.json, figures)


if __name__ == "__main__":
    main()
