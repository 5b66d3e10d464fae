"""A whole RL step (rollout, reference, policy forward and backward, update): by window, by sequence, the usual way.

    python -m benchmarks.rl_step [--quick] [--ways window sequence] [--json PATH]

Prompts are those of users who each have several in a row (`--per-user`): by window each is run by itself, by sequence
they share a run of the user's items. The floors are bare, one for each: one forward of the tokens that the rollout must
run, one forward (reference) and one forward and backward (policy) of prompts or trunks and unique nodes in plain causal
rows, as many as there are prompts, the head where a probability counts, and the optimiser's step.

The usual way accumulates gradients prompt by prompt: all rows at once need more memory than 24 GiB. By window they are
accumulated `--at-once` prompts at a time (in the pipeline `device_batch_prompts`), by sequence a user at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import usual
from benchmarks.common import add_sizes, arguments, interleaved, prepare, save, show, sizes, subject
from benchmarks.decoding import bare_forward
from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.models.loading import default_device
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.models.trunks import Prompts, Trunks
from rere.training.checkpoint import Reference
from rere.training.rl.advantages.group_std import GroupStd
from rere.training.rl.group import Group
from rere.training.rl.losses.base import Counts, LossInputs
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.rewards.total import total_reward

BETA = 1e-3
REWARDS = (RuleReward(), RankingReward())


def advantages_of(hits: torch.Tensor) -> torch.Tensor:
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device).expand_as(hits)
    group = Group(rank - 1, hits.int().argmax(1), hits, rank, torch.ones_like(hits))
    return GroupStd()(total_reward(REWARDS, group), group.valid)


def loss_of(
    policy: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, hits: torch.Tensor, counts: Counts
) -> torch.Tensor:
    advantages = advantages_of(hits)
    return GRPO()(
        LossInputs(
            policy=policy,
            reference=reference,
            mask=mask,
            nodes=torch.arange(mask.numel(), device=mask.device).view(mask.shape),  # no loss here asks for them
            hits=hits,
            reached=hits.any(1),
            reward=advantages,
            advantages=advantages,
            valid=torch.ones_like(hits),
            counts=counts,
            beta=BETA,
        )
    )


@dataclass(frozen=True)
class Layout:
    """The same prompts, as windows by themselves or as branches of trunks.

    windows: P token sequences; whole: all P, for the rollout; parts: for a forward and backward each
    """

    windows: list[list[int]]
    whole: Prompts
    parts: Sequence[Prompts]

    @property
    def tokens(self) -> int:
        """Of prompts, as they are run."""
        return len(self.whole.tokens) if isinstance(self.whole, Trunks) else sum(map(len, self.windows))


def layouts(catalog: CatalogIndex, options: argparse.Namespace, prompts: int, tokens: int) -> dict[str, Layout]:
    """Random users' prompts of about `tokens` tokens, by window and by sequence."""
    generator = torch.Generator().manual_seed(options.seed)
    mean = len(catalog.trie.item_tokens) / catalog.trie.items
    history_items, per_user = max(1, round(tokens / mean)), min(options.per_user, prompts)
    walks, branch_points, windows, parts = [], [], [], []
    for first in range(0, prompts, per_user):
        own = [history_items + n for n in range(min(per_user, prompts - first))]
        drawn = torch.randint(len(catalog.item_tokens), (own[-1],), generator=generator).tolist()
        walk = [catalog.item_tokens[item] for item in drawn]
        windows += [catalog.prompt(drawn[branch_point - history_items : branch_point]) for branch_point in own]
        parts.append(trunks_of(catalog, [walk], [own], history_items))
        walks.append(walk)
        branch_points.append(own)
    slices = [windows[first : first + options.at_once] for first in range(0, prompts, options.at_once)]
    return {
        "window": Layout(windows, windows, slices),
        "sequence": Layout(windows, trunks_of(catalog, walks, branch_points, history_items), parts),
    }


def trunks_of(
    catalog: CatalogIndex, walks: list[list[list[int]]], branch_points: list[list[int]], history_items: int
) -> Trunks:
    return Trunks.of([catalog.prompt_head] * len(walks), walks, branch_points, history_items, default_device())


class Step:
    """One model, its optimiser (SGD: no state to fill the first time), and the prompts with their targets."""

    def __init__(
        self, model: TreeModel, catalog: CatalogIndex, layout: Layout, group: int, mode: Normalisation
    ) -> None:
        self.model, self.catalog, self.layout, self.mode = model, catalog, layout, mode
        self.search = SearchSettings(beams=group, normalisation=mode)
        self.trie = catalog.trie.to(model.device)
        # The third beam is the target, so that every group has a hit and a gradient.
        found = beam_search(model, self.trie, layout.whole, self.search)
        self.targets, self.required = found.items[:, 2].clone(), found.required
        self.tree = group_tree(self.trie, layout.whole, found.items, mode, model.dtype)
        self.reference = Reference(model.model)
        self.optimiser = torch.optim.SGD(model.model.parameters(), lr=0.0)
        self.scorer = TreeLogProbs(model)

    def ours(self) -> float:
        found = beam_search(self.model, self.trie, self.layout.whole, self.search)
        hits, first = found.items == self.targets[:, None], 0
        for prompts in self.layout.parts:
            part = slice(first, first + len(prompts))
            first += len(prompts)
            tree = group_tree(self.trie, prompts, found.items[part], self.mode, self.model.dtype)
            with self.reference.in_place():
                reference = self.scorer(tree)
            policy = self.scorer(tree)
            loss = loss_of(policy, reference, tree.mask, hits[part], Counts.of(tree.mask))
            (loss * len(hits[part]) / len(hits)).backward()
        return self._update()

    def usual(self) -> float:
        items = self.catalog.item_tokens
        prompts = self.layout.windows
        groups, _ = usual.beam_search(self.model.model, items, prompts, self.search.beams, self.mode)
        for prompt, candidates, target in zip(prompts, groups, self.targets.tolist(), strict=True):
            hits = torch.tensor([[c == tuple(items[target]) for c in candidates]], device=self.model.device)
            with self.reference.in_place():
                reference, _ = usual.candidate_log_probs(self.model.model, prompt, candidates, items[0][-1])
            policy, mask = usual.candidate_log_probs(self.model.model, prompt, candidates, items[0][-1])
            one = Counts.of(mask[None])
            loss = loss_of(policy[None], reference[None], mask[None], hits, one) / len(prompts)
            loss.backward()
        return self._update()

    def floor(self) -> None:
        count, tokens, heads = len(self.layout.windows), len(self.tree.tokens), len(self.tree.hidden_at)
        nodes = self.required - self.layout.tokens
        bare_forward(self.model, count, self.required, count + nodes * (self.mode == "vocab"))
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
    parser.add_argument("--per-user", type=int, default=16, help="consecutive prompts of a user (default 16)")
    parser.add_argument(
        "--at-once", type=int, default=2, help="by window: prompts per forward and backward (default 2)"
    )
    parser.add_argument("--modes", nargs="+", choices=("vocab", "trie"), default=None)
    parser.add_argument("--ways", nargs="+", choices=("usual", "window", "sequence"), default=None)
    options = parser.parse_args()
    prepare(options)
    count, length, group = sizes(options, quick_prompts=2)
    if options.prompts is None and not options.quick:
        count = 16
    model, catalog = subject(options.backbone, options.dtype)
    by = layouts(catalog, options, count, length)

    rows: list[list[Any]] = []
    figures: dict[str, Any] = {"prompts": count, "per_user": options.per_user, "at_once": options.at_once}
    modes: Sequence[Normalisation] = options.modes or (("vocab",) if options.quick else ("vocab", "trie"))
    for mode in modes:
        figures[mode], found = measured(model, catalog, by, group, mode, options=options)
        rows += found
    show(
        f"RL step, {options.backbone} {options.dtype}, {count} prompts of about {length} tokens, "
        f"{options.per_user} per user, G = {group}; median of {options.repeats} "
        "(under `trie` the usual loss is still over the full vocabulary)",
        [
            "log-probabilities",
            "way",
            "seconds",
            "faster than usual",
            "than window",
            "to floor",
            "peak MiB",
            "tokens per prompt",
        ],
        rows,
    )
    save(options.json, figures)


def measured(
    model: TreeModel,
    catalog: CatalogIndex,
    by: dict[str, Layout],
    group: int,
    mode: Normalisation,
    *,
    options: argparse.Namespace,
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Figures and table rows under one normalisation; all ways and floors in turn."""
    steps = {way: Step(model, catalog, layout, group, mode) for way, layout in by.items()}
    works = {"usual": steps["window"].usual, "window": steps["window"].ours, "sequence": steps["sequence"].ours}
    wanted = options.ways or list(works)
    norms: dict[str, float] = {}

    def noted(way: str) -> Callable[[], None]:
        def work() -> None:
            norms[way] = works[way]()

        return work

    ways: dict[str, Callable[[], Any]] = {way: noted(way) for way in works if way in wanted}
    ways |= {f"floor of {way}": step.floor for way, step in steps.items() if way in wanted}
    runs = interleaved(ways, options.repeats)
    figures: dict[str, Any] = {
        "seconds": {way: run.seconds for way, run in runs.items()},
        "peak_memory_mib": {way: runs[way].peak_mib for way in wanted},
        "gradient_norm": norms,
        "tokens_per_prompt": {way: len(step.tree.tokens) / len(step.layout.windows) for way, step in steps.items()},
    }
    rows = []
    for way in works:
        if way not in wanted:
            continue
        ratios = [runs[base].seconds / runs[way].seconds if base in runs else None for base in ("usual", "window")]
        floor = runs.get(f"floor of {way}")
        to_floor = None if floor is None else runs[way].seconds / floor.seconds
        figures[f"{way}_ratios"] = dict(zip(("vs_usual", "vs_window", "to_floor"), [*ratios, to_floor], strict=True))
        tokens = figures["tokens_per_prompt"].get(way)
        cells = ["-" if ratio is None else f"{ratio:.2f}x" for ratio in (*ratios, to_floor)]
        rows.append(
            [
                mode,
                way,
                runs[way].seconds,
                *cells,
                f"{runs[way].peak_mib:.0f}",
                "-" if tokens is None else f"{tokens:.0f}",
            ]
        )
    return figures, rows


if __name__ == "__main__":
    main()
