"""Time and peak memory of ingest, validation, split and index, by the number of interactions.

    python -m benchmarks.large_data [--quick] [--sizes 100000 1000000] [--json PATH]
    python -m benchmarks.large_data --sizes 200_000_000 --stages ingest split --memory-gib 8

The data are generated in blocks from a seed, so that no size needs more memory than another: rows in order of time,
users by a log-normal activity (20 interactions on average), items by a Zipf law (one item per 20 interactions, 1,000
to 1,000,000). Each stage runs in a process of its own, through the functions that the pipeline's steps call: load the
stage's inputs, work, save the result. The first peak is the process's resident set, libraries and mapped files
included; the second is what it holds of its own, which the system can't take back (sampled). `--memory-gib` limits
that (RLIMIT_DATA). The table shows processor seconds, which a busy machine changes little, and the
JSON file those of the clock too. The largest sizes need room in TMPDIR: about 100 bytes per interaction.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow import parquet

SIZES = (100_000, 1_000_000, 5_000_000, 20_000_000)
QUICK = (20_000, 100_000)
BLOCK = 250_000  # interactions generated at once
START, DURATION = 1_600_000_000, 100_000_000  # September 2020, about three years
SEED = 0
WORDS = 4_000  # different words in the titles


# ---------------------------------------------------------------- the data


def generate(directory: Path, interactions: int) -> dict[str, int]:
    """Write interactions.parquet and items.parquet; the same bytes of data for the same size."""
    users, items = max(50, interactions // 20), min(1_000_000, max(1_000, interactions // 20))
    random = np.random.default_rng([SEED, interactions])
    activity = np.cumsum(random.lognormal(0.0, 1.0, users))
    popularity = np.cumsum(1 / np.arange(1, items + 1) ** 0.7)
    names = random.permutation(items)
    schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
    with parquet.ParquetWriter(directory / "interactions.parquet", schema) as file:
        for low in range(0, interactions, BLOCK):
            rows = np.arange(low, min(low + BLOCK, interactions))
            user = np.searchsorted(activity, random.random(len(rows)) * activity[-1])
            item = names[np.searchsorted(popularity, random.random(len(rows)) * popularity[-1])]
            times = START + (rows * (DURATION / interactions)).astype(np.int64)
            file.write(pa.table([_names("u", user), _names("i", item), pa.array(times)], schema=schema))
    _write_items(directory / "items.parquet", items, random)
    return {"interactions": interactions, "users": users, "items": items}


def _names(letter: str, numbers: np.ndarray) -> pa.Array:
    return pa.compute.binary_join_element_wise(letter, pa.array(numbers).cast(pa.string()), "")


def _write_items(path: Path, items: int, random: np.random.Generator) -> None:
    """Titles of two to six made-up words, and a number, which makes each its own."""
    parts = ["ka", "lo", "mi", "ne", "ru", "sta", "ve", "tor", "shi", "pan", "gel", "dro", "wi", "ber"]
    words = np.array(["".join(random.choice(parts, random.integers(1, 5))).capitalize() for _ in range(WORDS)])
    schema = pa.schema([("item_id", pa.string()), ("title", pa.string())])
    with parquet.ParquetWriter(path, schema) as file:
        for low in range(0, items, BLOCK):
            rows = np.arange(low, min(low + BLOCK, items))
            lengths = random.integers(2, 7, len(rows))
            flat = words[random.zipf(1.3, lengths.sum()) % WORDS]
            ends = np.cumsum(lengths)
            titles = [f"{' '.join(flat[e - n : e])} {row}" for row, e, n in zip(rows, ends, lengths, strict=True)]
            file.write(pa.table([_names("i", rows), pa.array(titles)], schema=schema))


# ---------------------------------------------------------------- the stages


def ingest(directory: Path) -> dict[str, int]:
    from rere.config.data import Chronological
    from rere.config.ingest import IngestConfig
    from rere.data.ingest import ingest as ingest_source
    from rere.data.sources.tables import Tables

    source = Tables(interactions=directory / "interactions.parquet", items=directory / "items.parquet")
    dataset = ingest_source(IngestConfig(source=source, split=Chronological()))
    dataset.save(directory / "dataset")
    return {"kept_interactions": dataset.report.kept["interactions"], "kept_items": dataset.report.kept["items"]}


def validate(directory: Path) -> dict[str, int]:
    from ops.validation.expectations import validate_dataset
    from rere.config.data import ValidationConfig
    from rere.data.dataset import Dataset
    from rere.data.profile import make_profile

    dataset = Dataset.load(directory / "dataset")
    report = validate_dataset(dataset, ValidationConfig(), None, make_profile(dataset))
    report.raise_if_failed()
    report.save(directory / "validation")
    return {"checks": len(report.checks)}


def split(directory: Path) -> dict[str, int]:
    from rere.config.data import SplitConfig
    from rere.data.dataset import Dataset
    from rere.data.windows import make_windows

    windows = make_windows(Dataset.load(directory / "dataset"), SplitConfig())
    windows.save(directory / "windows")
    assert windows.fingerprint  # the step records it
    return {"windows": len(windows.table)}


def validate_split(directory: Path) -> dict[str, int]:
    from ops.validation.expectations import validate_windows
    from rere.config.data import ValidationConfig
    from rere.data.dataset import Dataset, Windows

    dataset, windows = Dataset.load(directory / "dataset"), Windows.load(directory / "windows")
    report = validate_windows(windows, dataset, ValidationConfig())
    report.raise_if_failed()
    report.save(directory / "split_validation")
    return {"checks": len(report.checks)}


def index(directory: Path) -> dict[str, int]:
    from benchmarks.common import NANO
    from rere.catalog.codes.prefix import PrefixCode
    from rere.catalog.index import build_index
    from rere.config.catalog import IndexConfig
    from rere.data.dataset import Dataset

    catalog = build_index(Dataset.load(directory / "dataset").items, IndexConfig(backbone=NANO, code=PrefixCode()))
    catalog.save(directory / "catalog")
    return {"nodes": catalog.trie.nodes}


STAGES = {"ingest": ingest, "validate": validate, "split": split, "validate_split": validate_split, "index": index}


# ---------------------------------------------------------------- measuring


def run_stage(stage: str, directory: Path, interactions: int, memory_gib: float | None) -> dict[str, Any]:
    """Seconds and peak MiB of one stage in a process of its own, with what it counted."""
    command = [sys.executable, "-m", "benchmarks.large_data", "--stage", stage, "--directory", str(directory)]
    command += ["--memory-gib", str(memory_gib)] if memory_gib else []
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(
        [*command, "--sizes", str(interactions)], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{stage} of {interactions:,} interactions failed:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure_here(stage: str, directory: Path, interactions: int) -> dict[str, Any]:
    """Run a stage in this process, and look at its high-water mark."""
    own = OwnMemory()
    started, worked = time.perf_counter(), time.process_time()
    counted = generate(directory, interactions) if stage == "generate" else STAGES[stage](directory)
    seconds, busy = time.perf_counter() - started, time.process_time() - worked
    peaks = {"peak_mib": round(status_mib("VmHWM")), "own_mib": round(own.peak())}
    return {"seconds": round(seconds, 2), "cpu_seconds": round(busy, 2), **peaks, **counted}


def status_mib(field: str) -> float:
    """A figure of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


class OwnMemory:
    """The most memory of its own that this process is seen with: no files, which the system can drop and read again."""

    def __init__(self) -> None:
        self.mib = status_mib("RssAnon")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.ended.wait(0.05):
            self.mib = max(self.mib, status_mib("RssAnon"))

    def peak(self) -> float:
        self.ended.set()
        self.thread.join()
        return self.mib


def measure(
    interactions: int, stages: Sequence[str] = tuple(STAGES), memory_gib: float | None = None
) -> dict[str, Any]:
    """Stages of one size, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        record: dict[str, Any] = {"interactions": interactions, "memory_gib": memory_gib}
        for stage in ("generate", *stages):
            record[stage] = run_stage(stage, directory, interactions, memory_gib)
            print(f"{interactions:>12,} {stage:16} {record[stage]}", flush=True)
        return record


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: processor seconds and peak MiB (all, of its own) per stage, one row per size."""
    stages = [stage for stage in STAGES if stage in records[0]]
    lines = [
        "| interactions | items | " + " | ".join(stages) + " | highest peak, MiB |",
        "|" + "---|" * (len(stages) + 3),
    ]
    for record in records:
        measured = [record[stage] for stage in stages]
        cells = [f"{of['cpu_seconds']:.1f} ({of['peak_mib']:,}, {of['own_mib']:,})" for of in measured]
        highest = f"{max(of['peak_mib'] for of in measured):,}, {max(of['own_mib'] for of in measured):,}"
        lines.append(
            f"| {record['interactions']:,} | {record['generate']['items']:,} | {' | '.join(cells)} | {highest} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small sizes, under 60 seconds")
    parser.add_argument("--sizes", type=int, nargs="+", help="interactions (default 1e5, 1e6, 5e6, 2e7)")
    parser.add_argument("--stages", choices=STAGES, nargs="+", default=[*STAGES], help="in this order (default: all)")
    parser.add_argument("--memory-gib", type=float, help="of its own that a stage may take; more ends it")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--stage", choices=("generate", *STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = options.sizes or (QUICK if options.quick else SIZES)
    if options.stage:
        if options.memory_gib:
            limit = int(options.memory_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(json.dumps(measure_here(options.stage, options.directory, sizes[0])))
        return
    records = [measure(size, options.stages, options.memory_gib) for size in sizes]
    print(table(records))
    if options.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        options.json.write_text(json.dumps({"machine": machine, "sizes": records}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
