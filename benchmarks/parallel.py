"""SFT and RL in one worker and in several of one thread each: tokens per second, and parallel efficiency.

    python -m benchmarks.parallel [--quick] [--json PATH] [--workers 1 2 4] [--ray HOST:6379 [--gpus-per-worker 1]]

Without `--ray` workers are processes of this machine, with it those of a Ray cluster, whose nodes must see `--work`.
Each measurement is a training of its own (nano, MovieLens-100K, the default settings of a run but for
its length), also that of one process; start, validation and checkpoints are not in the time. Efficiency is
tokens per second over those of one worker, divided by the number of workers. `exchange` is the sum of the gradient
over workers alone, as RL does it once per update (gloo over the loopback interface).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import NANO, arguments, prepare, save, show
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig
from rere.config.ingest import IngestConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.data.ingest import ingest
from rere.data.windows import make_windows
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.runtime.launchers.base import Launcher
from rere.runtime.launchers.local import LocalLauncher
from rere.runtime.launchers.ray import RayLauncher
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.train import train_rl
from rere.training.rows import sequence_rows
from rere.training.sft.train import train_sft

EXCHANGES = 10


def worker(spec: dict[str, Any], log: Log) -> None:
    """Train both stages once and record what they took."""
    torch.set_num_threads(1)
    inputs = Path(spec["inputs"])
    windows, catalog = Windows.load(inputs / "windows"), CatalogIndex.load(inputs / "catalog")
    work = Path(spec["work"])
    figures = {"sft": sft(windows, catalog, work), "rl": rl(windows, catalog, inputs, work, spec["updates"])}
    log(figures | {"exchange": exchange(len(catalog.tokenizer))}, 0)  # type: ignore[arg-type]  # only a record


class Clock:
    """Notes when training records came: the clock's seconds, and this process's on the processor."""

    def __init__(self, metric: str) -> None:
        self.metric, self.moments = metric, list[tuple[int, float, float]]()

    def __call__(self, metrics: dict[str, float], update: int) -> None:
        if self.metric in metrics:
            self.moments.append((update, time.perf_counter(), time.process_time()))

    def figures(self, tokens_an_update: float, last: int) -> dict[str, float]:
        """From the first record, which warms up, to record `last`; processor seconds of all processes."""
        (first, begun, had), (end, ended, has) = self.moments[0], self.moments[last]
        seconds = (ended - begun) / (end - first)
        spent = distributed.total_of({"cpu": (has - had) / (end - first)})["cpu"]
        return {
            "seconds_an_update": seconds,
            "cpu_seconds_an_update": spent,
            "tokens_per_second": tokens_an_update / seconds,
            "tokens_an_update": tokens_an_update,
        }


def sft(windows: Windows, catalog: CatalogIndex, work: Path) -> dict[str, float]:
    """An epoch by the default settings."""
    clock, config = (
        Clock("train_loss"),
        SFTConfig(distillation=None, normalisation="vocab", epochs=1, validation_rows=16),
    )
    done = train_sft(windows, catalog, NANO, config, work / "sft", log=clock)
    rows = sequence_rows(windows.of("train"), catalog, windows.history_items, config.sequence_items)
    return clock.figures(sum(len(row["input_ids"]) for row in rows) / done.facts()["updates"], -1)


def rl(windows: Windows, catalog: CatalogIndex, inputs: Path, work: Path, updates: int) -> dict[str, float]:
    """Some updates by the default settings, but without a teacher to ask."""
    clock, rewards = Clock("reward"), (RuleReward(), RankingReward())
    config = RLConfig(updates=updates, validate_every=10_000, validation_rows=16, rewards=rewards)
    done = train_rl(Checkpoint(inputs / "start" / "model"), windows, catalog, config, work / "rl", log=clock)
    return clock.figures(done.facts()["tokens"] / updates, -2)  # the last update validates


def exchange(vocabulary: int) -> float:
    """Seconds that the sum of the gradient takes."""
    model = load_model(NANO, vocabulary, seed=0)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    taken = []
    for _ in range(EXCHANGES):
        distributed.barrier()
        started = time.perf_counter()
        distributed.sum_gradients(model.parameters())
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def launcher_of(options: argparse.Namespace, workers: int) -> Launcher:
    if options.ray is None:
        return LocalLauncher(processes=workers)
    return RayLauncher(address=options.ray, workers=workers, gpus_per_worker=options.gpus_per_worker)


def measure(inputs: Path, launcher: Launcher, updates: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=inputs.parent) as directory:
        found: list[dict[str, Any]] = []
        spec = {"inputs": str(inputs), "work": directory, "updates": updates}
        launcher.launch("benchmarks.parallel:worker", spec, Path(directory), lambda record, _: found.append(record))
    return found[0]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=None, help="users whose rows are trained (default 300; quick 60)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="how many, the first to compare with")
    parser.add_argument("--ray", help="address of a Ray cluster's head, host:port")
    parser.add_argument("--gpus-per-worker", type=int, choices=(0, 1), default=0)
    parser.add_argument("--work", type=Path, default=None, help="a directory that all nodes see")
    options = parser.parse_args()
    options.threads = 1
    prepare(options)
    os.environ["OMP_NUM_THREADS"] = "1"
    users, updates = options.users or (60 if options.quick else 300), 4 if options.quick else 12
    dataset = ingest(IngestConfig())
    catalog, windows = (
        build_index(dataset.items, IndexConfig(backbone=NANO, code=PrefixCode())),
        make_windows(dataset, SplitConfig()),
    )
    chosen = windows.table["user_id"].isin(windows.table["user_id"].unique()[:users])
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in options.workers}
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        inputs = Path(directory) / "inputs"
        windows = Windows(windows.table[chosen].reset_index(drop=True), windows.history_items)
        windows.save(inputs / "windows")
        catalog.save(inputs / "catalog")
        train_sft(windows, catalog, NANO, SFTConfig(distillation=None, epochs=0), inputs / "start", log=lambda *_: None)
        for _ in range(options.repeats):
            for count in options.workers:
                runs[count].append(measure(inputs, launcher_of(options, count), updates))
    figures: dict[str, Any] = {"users": users, "updates": updates, "repeats": options.repeats}
    rows = []
    for stage in ("sft", "rl"):
        figures[stage] = {}
        for count in options.workers:
            own = {name: statistics.median(run[stage][name] for run in runs[count]) for name in runs[count][0][stage]}
            alone, first = figures[stage].get(str(options.workers[0]), own), options.workers[0]
            own["efficiency"] = own["tokens_per_second"] / alone["tokens_per_second"] * first / count
            own["cpu_efficiency"] = alone["cpu_seconds_an_update"] / own["cpu_seconds_an_update"]
            figures[stage][str(count)] = own
            seconds = [own["seconds_an_update"], own["cpu_seconds_an_update"]]
            shares = [f"{own[name]:.0%}" for name in ("efficiency", "cpu_efficiency")]
            rows.append([stage.upper(), count, f"{own['tokens_per_second']:,.0f}", *seconds, *shares])
    figures["exchange_seconds"] = statistics.median(run["exchange"] for run in runs[options.workers[-1]])
    show(
        f"Workers of one thread each, nano, {users} users; median of {options.repeats}; the gradient's sum over "
        f"{options.workers[-1]} workers takes {figures['exchange_seconds'] * 1e3:.1f} ms",
        ["stage", "workers", "tokens/s", "s per update", "processor s", "efficiency", "of processor time"],
        rows,
    )
    save(options.json, figures)


if __name__ == "__main__":
    main()
