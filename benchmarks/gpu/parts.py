"""The parts of the measurement: each yields rows of figures, so that what was measured stays when time runs out."""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import decoding, rl_step, sft
from benchmarks.common import NANO, interleaved, random_prompts, subject
from benchmarks.gpu.forward import forwards
from benchmarks.gpu.sizes import Sizes
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search

Row = dict[str, Any]
MODES: tuple[Normalisation, ...] = ("vocab", "trie")


@dataclass(frozen=True)
class Part:
    """seconds: it may take; columns: of its table in the docs, title -> key of a row, dots for what is nested"""

    run: Callable[[Sizes, str], Iterator[Row]]
    title: str
    seconds: int
    columns: dict[str, str]


def oracles(sizes: Sizes, device: str) -> Iterator[Row]:
    for dtype in ("float32", "bfloat16")[: len(sizes.dtypes)]:
        command = [sys.executable, "-m", "tests.device.checks", "--device", device, "--dtype", dtype, "--kinds"]
        environment = os.environ | {"RERE_TESTS_DEVICE": device}
        with subprocess.Popen([*command, *sizes.kinds], stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
        if process.returncode:
            yield {"check": "all others", "dtype": dtype, "outcome": "failed", "why": f"exit {process.returncode}"}


def searches(sizes: Sizes, device: str) -> Iterator[Row]:
    for name in (sizes.main_model, *sizes.models[1:]):
        for dtype in sizes.dtypes:
            model, catalog = subject(name, dtype)
            prompts = random_prompts(catalog, sizes.prompts, sizes.tokens, seed=0)
            for mode in MODES:
                own = decoding.compared(model, catalog, prompts, sizes.group, mode, repeats=sizes.repeats)
                yield {"model": name, "dtype": dtype, "scores": mode, **own}


def rl_steps(sizes: Sizes, device: str) -> Iterator[Row]:
    options = argparse.Namespace(
        seed=0, per_user=sizes.per_user, at_once=sizes.rl_prompts, repeats=sizes.repeats, ways=None
    )
    for dtype in sizes.dtypes:
        model, catalog = subject(sizes.main_model, dtype)
        by = rl_step.layouts(catalog, options, sizes.rl_prompts, sizes.tokens)
        for mode in reversed(MODES):
            figures, _ = rl_step.measured(model, catalog, by, sizes.group, mode, options=options)
            for way in ("usual", "window", "sequence"):
                yield {
                    "model": sizes.main_model,
                    "dtype": dtype,
                    "scores": mode,
                    "way": way,
                    "seconds": figures["seconds"][way],
                    "floor": figures["seconds"].get(f"floor of {way}"),
                    **figures[f"{way}_ratios"],
                    "peak_mib": figures["peak_memory_mib"][way],
                    "gradient_norm": figures["gradient_norm"][way],
                    "tokens_per_prompt": figures["tokens_per_prompt"].get(way),
                }


def fine_tuning(sizes: Sizes, device: str) -> Iterator[Row]:
    for name in dict.fromkeys(("nano", sizes.main_model)):
        model, catalog, windows = sft.nano(10)
        if name != "nano":
            tree, catalog = subject(name, "float32")
            model = tree.model
            model.set_attn_implementation("sdpa")
        train = windows.of("train")
        users = sizes.users if name == "nano" else sizes.large_users
        chosen = train[train["user_id"].isin(train["user_id"].unique()[:users])]
        for dtype in sizes.dtypes:
            model.to(getattr(torch, dtype))
            own = sft.compared(model, catalog, chosen, windows.history_items, 4096, repeats=sizes.repeats)
            yield {"model": name, "dtype": dtype, **own}


def throughput(sizes: Sizes, device: str) -> Iterator[Row]:
    """Prompts per second by how many are searched together, until memory runs out."""
    for dtype in sizes.dtypes:
        model, catalog = subject(sizes.main_model, dtype)
        trie = catalog.trie.to(model.device)
        for mode in reversed(MODES):
            search = SearchSettings(beams=sizes.group, normalisation=mode)
            for batch in sizes.batches:
                row: Row = {"model": sizes.main_model, "dtype": dtype, "scores": mode, "prompts": batch}
                prompts = random_prompts(catalog, batch, sizes.tokens, seed=0)
                try:
                    run = interleaved({"ours": partial(beam_search, model, trie, prompts, search)}, sizes.repeats)[
                        "ours"
                    ]
                except torch.OutOfMemoryError:
                    gc.collect()
                    yield row | {"why": "out of memory"}
                    break
                yield row | {"seconds": run.seconds, "per_second": batch / run.seconds, "peak_mib": run.peak_mib}


def service(sizes: Sizes, device: str) -> Iterator[Row]:
    options = list(sizes.load)
    options[options.index("--backbone") + 1] = sizes.main_model
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "load.json"
        command = [sys.executable, "-m", "benchmarks.serving", *options, "--json", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        figures = json.loads(path.read_text(encoding="utf-8"))
    for name, own in figures.items():
        if isinstance(own, dict):
            way, clients = name.rsplit(", ", 1)
            yield {"way": way, "clients": int(clients), "floor_ms": figures["floor_ms"], **own}


def training(sizes: Sizes, device: str) -> Iterator[Row]:
    """Nano on MovieLens-100K: fine-tuning, then RL by sequence, each judged on validation rows."""
    from rere.config.rl import RLConfig
    from rere.config.sft import SFTConfig
    from rere.config.training import SequencePrefill
    from rere.models.loading import default_device
    from rere.training.rl.rewards.ranking import RankingReward
    from rere.training.rl.rewards.rule import RuleReward
    from rere.training.rl.train import train_rl
    from rere.training.sft.train import train_sft

    _, catalog, windows = sft.nano(10)
    users = set(sorted(set(windows.table["user_id"]))[: sizes.training_users])
    windows = replace(windows, table=windows.table[windows.table["user_id"].isin(users)].reset_index(drop=True))
    with tempfile.TemporaryDirectory() as work:
        tuned = train_sft(
            windows,
            catalog,
            NANO,
            SFTConfig(distillation=None, normalisation="vocab", epochs=2),
            Path(work) / "sft",
            log=lambda *_: None,
        )
        facts = tuned.facts()
        yield {
            "stage": "SFT, 2 epochs",
            "device": str(default_device()),
            "seconds": facts["seconds"],
            "best_valid_loss": facts["best_valid_loss"],
        }
        config = RLConfig(
            updates=sizes.updates,
            validate_every=max(1, sizes.updates // 2),
            validation_rows=500,
            rewards=(RuleReward(), RankingReward()),
            prefill=SequencePrefill(prompts=8),
        )
        done = train_rl(tuned, windows, catalog, config, Path(work) / "rl", log=lambda *_: None)
        facts = done.facts()
        yield {
            "stage": f"RL, {facts['updates']} updates by sequence",
            "seconds": facts["seconds"],
            "start_ndcg@10": facts["start_valid_ndcg@10"],
            "best_ndcg@10": facts["best_valid_ndcg@10"],
            "tokens": facts["tokens"],
        }


WAYS = {"model": "model", "dtype": "dtype"}
# In the order of their worth: fine-tuning and RL in full are soon, since they find what a benchmark's own loops don't.
# Even if all parts but the last are cut off, it is reached: their seconds make 435. An H100 needs about 70, 65, 80 and
# 40 for the first four (see sizes.py); the service gives all its rows at its end.
PARTS: dict[str, Part] = {
    "oracles": Part(
        oracles,
        "The engine against its oracles",
        80,
        {"check": "check", "dtype": "dtype", "outcome": "outcome", "largest gap, nats": "gap"},
    ),
    "decoding": Part(
        searches,
        "Constrained beam search",
        72,
        WAYS
        | {"scores": "scores", "usual, s": "seconds.usual", "ours, s": "seconds.ours", "floor, s": "seconds.floor"}
        | {"faster": "ratio_vs_usual", "to the floor": "ratio_to_floor"}
        | {"MiB, ours": "peak_memory_mib.ours", "usual": "peak_memory_mib.usual"}
        | {"same items": "same_items_and_order"},
    ),
    "rl_step": Part(
        rl_steps,
        "A whole RL step",
        88,
        WAYS
        | {"scores": "scores", "way": "way", "seconds": "seconds", "faster than usual": "vs_usual"}
        | {"than by window": "vs_window", "to its floor": "to_floor", "peak MiB": "peak_mib"}
        | {"tokens per prompt": "tokens_per_prompt"},
    ),
    "sft": Part(
        fine_tuning,
        "SFT by sequence",
        45,
        WAYS
        | {"targets": "targets", "by window, targets/s": "targets_per_second.usual"}
        | {"by sequence, targets/s": "targets_per_second.ours", "faster": "ratio_vs_usual"}
        | {"to the floor": "ratio_to_floor", "MiB, by sequence": "peak_memory_mib.ours"}
        | {"by window": "peak_memory_mib.usual"},
    ),
    "training": Part(
        training,
        "A short training",
        55,
        {"stage": "stage", "seconds": "seconds", "validation loss": "best_valid_loss"}
        | {"NDCG@10 at the start": "start_ndcg@10", "best": "best_ndcg@10"},
    ),
    "throughput": Part(
        throughput,
        "Throughput and memory by batch",
        35,
        WAYS
        | {"scores": "scores", "prompts": "prompts", "seconds": "seconds", "prompts/s": "per_second"}
        | {"peak MiB": "peak_mib", "": "why"},
    ),
    "serving": Part(
        service,
        "The service under load",
        60,
        {"way": "way", "clients": "clients", "answers/s": "per_second", "p50, ms": "p50_ms", "p99, ms": "p99_ms"}
        | {"failed": "failed"},
    ),
    "forward": Part(
        forwards,
        "Plain, compiled and as a CUDA graph",
        110,
        WAYS
        | {"what": "what", "prompts": "prompts", "stock, ms": "ms.stock", "ours, ms": "ms.plain"}
        | {"compiled, ms": "ms.compiled", "CUDA graph, ms": "ms.graph", "left out": "why"},
    ),
}
