"""Measure on the GPU of this machine for so many seconds, the most worthwhile first: JSON, and a page for the docs.

    make gpu                    # python -m benchmarks.gpu
    make gpu DEVICE=cpu         # the same on a CPU, small: a rehearsal

After each row the files are written anew: what was measured stays, whatever happens after it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.page import markdown, put
from benchmarks.gpu.worker import events

ORDER = ("oracles", "decoding", "rl_step", "sft", "training", "throughput", "serving", "forward")
SECONDS = 450.0
LEAST = 15.0  # seconds in which a worker can start and measure something
LOOK = 0.5


def read(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def result(log: Path, asked: list[str], device: str) -> dict[str, Any]:
    """All that is known so far."""
    parts: dict[str, Any] = {name: {"state": "skipped", "why": "no time left", "rows": []} for name in asked}
    found: dict[str, Any] = {"asked_device": device}
    for event in read(log):
        if "machine" in event:
            found |= {name: event[name] for name in ("machine", "versions", "sizes")}
            continue
        own = parts[event["part"]]
        if "row" in event:
            own["rows"].append(event["row"])
            continue
        own["state"], own["why"] = event["state"], event.get("why", "")
        if event["state"] == "started":
            own["began"] = event["time"]
        else:
            own["seconds"] = event["time"] - own.pop("began", event["time"])
    return found | {"parts": parts}


def measure(options: argparse.Namespace, log: Path) -> bool:
    """Run workers until all parts are over or time is; False where none could even start."""
    from benchmarks.gpu.parts import PARTS

    deadline, left = time.time() + options.seconds, list(options.parts)
    while left and deadline - time.time() > LEAST:
        command = [sys.executable, "-m", "benchmarks.gpu.worker", "--device", options.device, "--log", str(log)]
        command += [*(["--quick"] if options.quick else []), "--parts", *left]
        environment = dict(os.environ)
        if options.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        before = len(read(log))
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        written, why = 0, ""
        while process.poll() is None:
            time.sleep(LOOK)
            if log.exists() and log.stat().st_size > written:
                written = log.stat().st_size
                write(options, log)
            last = latest(log, before)
            running = last if last and last["state"] == "started" else None
            limit = PARTS[running["part"]].seconds * options.patience if running else float("inf")
            if running and time.time() - running["time"] > limit:
                why = f"its {limit:.0f} seconds were over"
            elif time.time() > deadline:
                why = "time ran out"
            if why:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        last = latest(log, before)
        if last is None:
            return bool(before)
        if last["state"] == "started":
            ended = ("cut off", why) if why else ("failed", f"its process ended with {process.returncode}")
            events(log, part=last["part"], state=ended[0], why=ended[1])
        left = left[left.index(last["part"]) + 1 :]
        write(options, log)
    return True


def latest(log: Path, before: int) -> dict[str, Any] | None:
    """The last event about a part's state, after so many events."""
    states = [event for event in read(log)[before:] if "state" in event]
    return states[-1] if states else None


def write(options: argparse.Namespace, log: Path) -> None:
    found = result(log, options.parts, options.device)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    put(options.page, markdown(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for everything (default {SECONDS:.0f})")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: does it run?")
    parser.add_argument("--parts", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--json", type=Path, default=None, help="default: docs/benchmarks/gpu.json, on a CPU reports/")
    parser.add_argument("--page", type=Path, default=None, help="default: docs/gpu.md, on a CPU reports/gpu.md")
    parser.add_argument("--patience", type=float, default=None, help="factor to a part's time (default 1, on a CPU 2)")
    options = parser.parse_args()
    real = options.device == "cuda"
    options.json = options.json or Path("docs/benchmarks/gpu.json" if real else "reports/gpu.json")
    options.page = options.page or Path("docs/gpu.md" if real else "reports/gpu.md")
    options.patience = options.patience or (1.0 if real else 2.0)
    log = options.json.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    if not measure(options, log):
        raise SystemExit(1)
    found = result(log, options.parts, options.device)
    for name, own in found["parts"].items():
        print(f"{name:12} {own['state']:8} {len(own['rows']):3} rows {own.get('seconds', 0):6.0f} s  {own['why']}")
    print(options.json, options.page, sep="\n")
    wrong = [row for row in found["parts"].get("oracles", {"rows": []})["rows"] if row["outcome"] != "passed"]
    raise SystemExit(bool(wrong or any(own["state"] == "failed" for own in found["parts"].values())))


if __name__ == "__main__":
    main()
