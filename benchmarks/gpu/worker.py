"""The process that measures: parts one after the other, a line of JSON for whatever comes of them.

The process that started it (benchmarks/gpu/__main__.py) reads the lines, and ends it when a part's time is over.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.sizes import CPU, GPU, QUICK


def events(log: Path, **event: Any) -> None:
    """Add a line, to the disk."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": time.time(), **event}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def versions() -> dict[str, str | None]:
    import transformers

    return {"torch": torch.__version__, "cuda": torch.version.cuda, "transformers": transformers.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", required=True)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"No CUDA device for torch {torch.__version__}. `make gpu DEVICE=cpu` rehearses on the CPU.")
    sizes = QUICK if options.quick else GPU if options.device == "cuda" else CPU
    torch.manual_seed(0)
    events(options.log, machine=machine(), versions=versions(), sizes=asdict(sizes))
    for name in options.parts:
        events(options.log, part=name, state="started")
        try:
            for row in PARTS[name].run(sizes, options.device):
                events(options.log, part=name, row=row)
            events(options.log, part=name, state="done")
        except Exception as error:  # the next part may well work
            events(options.log, part=name, state="failed", why=f"{type(error).__name__}: {str(error)[:1000]}")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
