"""The engine against slow oracles on a device of choice; each check says how far apart the two were.

    python -m tests.device.checks --device cuda --dtype bfloat16

A line of JSON per check. In float32 the engine must give what the oracle gives; in bfloat16, what the oracle gives in
float32 to within bfloat16's rounding.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import build_index
from rere.catalog.trie import build_trie
from rere.config.backbone import ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.decoding import Normalisation, SearchSettings
from rere.config.rl import RLConfig
from rere.config.training import SequencePrefill
from rere.data.dataset import Windows
from rere.decoding.beam import BeamResult, beam_search
from rere.decoding.exclusion import Exclusions, leaf_positions
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.decoding.sampling import sample_items
from rere.models import loading
from rere.models.backbone import load_model
from rere.models.checkpoint import save_checkpoint
from rere.models.prefix_cache import PrefixCache
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.models.trunks import Prompts, Trunks
from rere.runtime.launch import Log
from rere.training import loop
from rere.training.rl.advantages.group_std import GroupStd
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.samplers.beam import BeamSampler
from rere.training.rl.train import train_rl
from tests.decoding.test_architectures import ARCHITECTURES, tiny
from tests.decoding.test_beam import END, random_items, random_prompts
from tests.decoding.test_trunks import BRANCH_POINTS, HEAD_TOKENS, WALKS, all_alone, windows
from tests.oracles import all_sequences, item_log_probs, score_all_items, stock_beam_search

MODES: tuple[Normalisation, ...] = ("vocab", "trie")
KINDS = ("llama", "qwen2", "gemma2", "gpt2")
HISTORY_ITEMS = 3


@dataclass(frozen=True)
class Place:
    """Where and in which precision the engine runs; the oracle runs there too, in float32."""

    device: torch.device
    dtype: torch.dtype
    kinds: tuple[str, ...] = KINDS

    @property
    def tolerance(self) -> float:
        """Of a score, in nats; the oracles' are -3 to -40."""
        return 1e-3 if self.dtype == torch.float32 else 1.0

    def models(self, kind: str) -> tuple[TreeModel, TreeModel]:
        """The engine's model, and the same in float32."""
        pair = []
        for dtype in (self.dtype, torch.float32):
            model = tiny(*ARCHITECTURES[kind])
            torch.nn.Module.to(model, self.device, dtype)
            pair.append(TreeModel(model))
        return pair[0], pair[1]


def gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference."""
    return float((found.detach().float().cpu() - expected.detach().float().cpu()).abs().max())


def within(value: float, most: float) -> float:
    assert value <= most, f"{value:.3g} apart, {most:.3g} allowed"
    return value


def beams_are_those_of_generate(place: Place) -> float:
    """In bfloat16 the order may differ where scores are close: there the scores of what was found are compared."""
    worst = 0.0
    for kind in place.kinds:
        generator = torch.Generator().manual_seed(1)
        (model, exact), items, prompts = place.models(kind), random_items(60, generator), random_prompts(3, generator)
        trie = build_trie(items).to(place.device)
        for mode in MODES:
            found = beam_search(model, trie, prompts, SearchSettings(beams=5, normalisation=mode))
            for row, prompt in enumerate(prompts):
                if place.dtype == torch.float32:
                    expected = stock_beam_search(exact.base, items, prompt, 5, mode)
                    assert found.items[row].tolist() == [item for item, _ in expected], (kind, mode, row)
                    scores = torch.tensor([score for _, score in expected])
                else:
                    scores = score_all_items(exact.base, items, prompt, mode).cpu()[found.items[row].cpu()]
                worst = max(worst, gap(found.scores[row], scores))
    return within(worst, place.tolerance)


def all_items_have_their_scores(place: Place) -> float:
    items, worst = all_sequences((5, 6, 7), (1, 2), END), 0.0
    prompts = random_prompts(2, torch.Generator().manual_seed(2))
    for kind in place.kinds:
        model, exact = place.models(kind)
        trie = build_trie(items).to(place.device)
        for mode in MODES:
            everything = torch.stack([score_all_items(exact.base, items, prompt, mode) for prompt in prompts]).cpu()
            search = SearchSettings(beams=len(items), normalisation=mode)
            found = beam_search(model, trie, prompts, search)
            worst = max(worst, gap(found.scores, everything.gather(1, found.items.cpu())))
            assert (found.items.cpu().sort(1).values == torch.arange(len(items))).all()
    return within(worst, place.tolerance)


def log_probs_and_gradients_are_those_of_each_candidate(place: Place) -> float:
    worst = 0.0
    for kind in place.kinds:
        for mode in MODES:
            generator = torch.Generator().manual_seed(3)
            model, exact = place.models(kind)
            items, prompts = random_items(40, generator), random_prompts(3, generator)
            groups = torch.stack([torch.randperm(len(items), generator=generator)[:5] for _ in prompts])
            weights = torch.randn(groups.shape, generator=generator).to(place.device)
            trie = build_trie(items).to(place.device)
            tree = group_tree(trie, prompts, groups.to(place.device), mode, model.dtype)
            found = TreeLogProbs(model)(tree).sum(2)
            rows = zip(prompts, groups.tolist(), strict=True)
            expected = torch.stack(
                [
                    torch.stack([item_log_probs(exact.base, items, item, prompt, mode).sum() for item in group])
                    for prompt, group in rows
                ]
            )
            worst = max(worst, gap(found, expected))
            for value in (found, expected):
                (value * weights).sum().backward()
            aligned(model, exact, place)
    return within(worst, place.tolerance)


def aligned(model: TreeModel, exact: TreeModel, place: Place) -> None:
    """All gradients together point the same way and are as long."""
    ours, theirs = (
        torch.cat([w.grad.flatten().float().cpu() for w in own.base.parameters() if w.grad is not None])
        for own in (model, exact)
    )
    apart = float((ours - theirs).norm() / theirs.norm())
    assert apart <= (1e-3 if place.dtype == torch.float32 else 0.1), f"gradients {apart:.3g} apart"


def prompts_of_a_trunk_are_those_alone(place: Place) -> float:
    worst = 0.0
    for kind in place.kinds:
        for mode in MODES:
            items = random_items(32, torch.Generator().manual_seed(4))
            model, _ = place.models(kind)
            walks = [[items[item] for item in walk] for walk in WALKS]
            prompts = Trunks.of([HEAD_TOKENS] * len(walks), walks, BRANCH_POINTS, HISTORY_ITEMS, place.device)
            search = SearchSettings(beams=len(items), normalisation=mode)
            found = beam_search(model, build_trie(items).to(place.device), prompts, search)
            groups = found.items[:, :4].cpu()
            slow = TreeModel(tiny(*ARCHITECTURES[kind])).base  # on the CPU, where the oracle makes its batches
            with torch.no_grad():
                everything = all_alone(slow, items, groups, mode)
            worst = max(worst, gap(found.scores[:, :4], everything))
    return within(worst, place.tolerance)


def a_trunk_of_one_prompt_is_its_window(place: Place) -> float:
    worst = 0.0
    for mode in MODES:
        items = random_items(32, torch.Generator().manual_seed(5))
        model, _ = place.models("llama")
        trie = build_trie(items).to(place.device)
        short = [walk[-HISTORY_ITEMS:] for walk in WALKS]
        own = [[len(walk)] for walk in short]
        walks = [[items[item] for item in walk] for walk in short]
        alone = windows(items, short, own)
        both: tuple[Prompts, ...] = (
            Trunks.of([HEAD_TOKENS] * len(walks), walks, own, HISTORY_ITEMS, place.device),
            alone,
        )
        search = SearchSettings(beams=len(items), normalisation=mode)
        first, second = (beam_search(model, trie, prompts, search) for prompts in both)
        worst = max(worst, gap(in_order(first), in_order(second)))
        groups = first.items[:, :6]
        shared, single = (
            TreeLogProbs(model)(group_tree(trie, prompts, groups, mode, model.dtype)).sum(2) for prompts in both
        )
        worst = max(worst, gap(shared, single))
    return within(worst, place.tolerance)


def in_order(found: BeamResult) -> torch.Tensor:
    """Scores (P, K) by item."""
    return found.scores.gather(1, found.items.argsort(1))


def settings_of_a_search_change_no_score(place: Place) -> float:
    """Lookahead, kept prefixes, excluded items and an item prior, each against the plain search."""
    generator = torch.Generator().manual_seed(6)
    model, _ = place.models("qwen2")
    items, prompts = random_items(50, generator), random_prompts(5, generator)
    trie, search = build_trie(items).to(place.device), SearchSettings(beams=50)
    plain = beam_search(model, trie, prompts, search)
    far = beam_search(model, trie, prompts, search.model_copy(update={"lookahead_tokens": 100_000}))
    cache = PrefixCache(10_000)
    kept = [beam_search(model, trie, [prompt * 4 for prompt in prompts], search, prefixes=cache) for _ in range(2)]
    assert cache.found > 0
    worst = max(gap(in_order(far), in_order(plain)), gap(in_order(kept[1]), in_order(kept[0])))

    gone = torch.randperm(50, generator=generator)[:12].tolist()
    exclusions = Exclusions.of(trie, leaf_positions(trie, gone[:4]), [gone[4:]] * len(prompts))
    left = beam_search(model, trie, prompts, search, exclusions=exclusions)
    assert not set(left.items.flatten().tolist()) & set(gone)
    assert (left.items >= 0).sum(1).tolist() == [38] * len(prompts)

    even = torch.full((len(prompts), 50), -float(np.log(50)), dtype=torch.float64).to(place.device)
    mixed = beam_search(model, trie, prompts, search, item_prior=ItemPrior(node_log_mass(trie, even), weight=0.25))
    worst = max(worst, gap(in_order(mixed), 0.75 * in_order(plain).cpu() - 0.25 * float(np.log(50))))
    return within(worst, place.tolerance)


def draws_are_valid_and_repeatable(place: Place) -> float:
    generator = torch.Generator().manual_seed(7)
    model, _ = place.models("llama")
    items, prompts = random_items(40, generator), random_prompts(3, generator)
    trie = build_trie(items).to(place.device)
    first, again = (sample_items(model, trie, prompts, 12, torch.Generator().manual_seed(7)).items for _ in range(2))
    assert first.tolist() == again.tolist()
    assert 0 <= int(first.min()) <= int(first.max()) < 40
    return 0.0


def training_is_that_of_the_cpu(place: Place) -> float:
    """Three updates of RL by sequence from one start, there and on the CPU."""
    own = ScratchModel(layers=1, width=32, heads=2, vocabulary=300)
    ids = [f"i{n}" for n in range(12)]
    table = pd.DataFrame({"item_id": ids, "title": [f"Moon {n // 3} Trip {n}" for n in range(12)]})
    catalog, rows = build_index(table, IndexConfig(backbone=own, code=PrefixCode())), []
    for user in range(8):
        walk = [ids[(user + step) % 12] for step in range(8)]
        rows += [
            (f"u{user}", walk[max(0, n - 4) : n], walk[n], n, {7: "test", 6: "valid"}.get(n, "train"))
            for n in range(1, 8)
        ]
    frame = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"]).assign(warm=True)
    frame.insert(0, "row_id", np.arange(len(frame)))
    config = RLConfig(
        num_generations=4,
        prompts=8,
        device_batch_prompts=8,
        prefill=SequencePrefill(prompts=4),
        updates=3,
        validate_every=3,
        sampling=BeamSampler(),
        rewards=(RuleReward(), RankingReward()),
        loss=GRPO(),
        advantage=GroupStd(),
        precision="float32" if place.dtype == torch.float32 else "bfloat16",
    )
    curves: list[list[dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as work:
        start = save_checkpoint(load_model(own, len(catalog.tokenizer), 0), Path(work) / "0", [], {})
        for device in (place.device, torch.device("cpu")):
            records: list[dict[str, float]] = []
            with ExitStack() as there:
                there.enter_context(mock.patch.object(loading, "default_device", lambda device=device: device))
                if device.type not in ("cpu", "cuda"):  # what only pretends can't be written to a file
                    there.enter_context(mock.patch.object(loop, "save_checkpoint"))
                train_rl(
                    start,
                    Windows(frame, history_items=4),
                    catalog,
                    config,
                    Path(work) / device.type / str(len(curves)),
                    log=keeper(records),
                )
            curves.append([record for record in records if "reward" in record])
    assert [len(records) for records in curves] == [3, 3]
    # The first update's. Adam then moves each weight by the sign of its gradient, and signs of zeros are rounding.
    worst = max(abs(curves[0][0][name] - curves[1][0][name]) for name in ("reward", "loss", "kl", "gradient_norm"))
    return within(worst, 1e-2 if place.dtype == torch.float32 else 0.5)  # advantages cancel: rounding shows


def keeper(records: list[dict[str, float]]) -> Log:
    """A log that keeps what it is given."""

    def log(record: dict[str, float], update: int) -> None:
        records.append(record)

    return log


CHECKS: tuple[Callable[[Place], float], ...] = (
    beams_are_those_of_generate,
    all_items_have_their_scores,
    log_probs_and_gradients_are_those_of_each_candidate,
    prompts_of_a_trunk_are_those_alone,
    a_trunk_of_one_prompt_is_its_window,
    settings_of_a_search_change_no_score,
    draws_are_valid_and_repeatable,
    training_is_that_of_the_cpu,
)


def records(place: Place) -> Iterable[dict[str, object]]:
    """What came of each check; one that fails doesn't end the others."""
    for check in CHECKS:
        started = time.perf_counter()
        record: dict[str, object] = {"check": check.__name__, "dtype": str(place.dtype).removeprefix("torch.")}
        try:
            record |= {"outcome": "passed", "gap": check(place)}
        except Exception as error:
            record |= {"outcome": "failed", "why": f"{type(error).__name__}: {str(error)[:500]}"}
        yield record | {"seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or pretend (no GPU: see tests/device/pretend.py)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    if options.device == "pretend":
        from tests.device.pretend import register

        device = register()
    else:
        device = torch.device(options.device)
    for record in records(Place(device, getattr(torch, options.dtype), tuple(options.kinds))):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
