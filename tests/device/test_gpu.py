"""`make gpu`: a part of it in full on the CPU, and what is reported of parts that don't end well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import LEAST, ORDER, SECONDS, result
from benchmarks.gpu.packages import needed
from benchmarks.gpu.page import BEGIN, END, markdown, put
from benchmarks.gpu.parts import PARTS

ROOT = Path(__file__).resolve().parents[2]


def test_a_part_is_measured_and_written(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("figures.json", "page.md")}
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--parts", "throughput"]
    command += ["--seconds", "3600", "--patience", "100"]  # nothing here depends on the machine's speed
    command += ["--json", str(files["figures.json"]), "--page", str(files["page.md"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(files["figures.json"].read_text(encoding="utf-8"))
    part = found["parts"]["throughput"]
    assert part["state"] == "done"
    assert [row["prompts"] for row in part["rows"]] == [1, 2, 1, 2]
    assert all(row["per_second"] > 0 for row in part["rows"])
    page = files["page.md"].read_text(encoding="utf-8")
    assert "rehearsal on a CPU" in page
    assert "### Throughput and memory by batch" in page


def test_a_device_that_is_not_there_is_said(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "f.json"), "--page", str(tmp_path / "p.md")]
    command = [sys.executable, "-m", "benchmarks.gpu", "--parts", "oracles", *files]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 1
    assert "No CUDA device" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_was_measured_stays(tmp_path: Path) -> None:
    log = tmp_path / "log"
    events = [
        {"time": 1.0, "machine": "A card", "versions": {"torch": "2"}, "sizes": {}},
        {"time": 2.0, "part": "oracles", "state": "started"},
        {"time": 3.0, "part": "oracles", "row": {"check": "all_is_well", "outcome": "passed", "gap": 1e-6}},
        {"time": 5.0, "part": "oracles", "state": "cut off", "why": "its 3 seconds were over"},
        {"time": 6.0, "part": "decoding", "state": "started"},
        {"time": 7.0, "part": "decoding", "state": "failed", "why": "RuntimeError: no room"},
        {"time": 8.0, "part": "sft", "state": "started"},
    ]
    text = "".join(json.dumps(event) + "\n" for event in events)
    log.write_text(text + '{"time": 9.0, "part": "s', encoding="utf-8")  # killed while writing
    found = result(log, ["oracles", "decoding", "sft", "serving"], "cuda")
    states = {name: (own["state"], len(own["rows"])) for name, own in found["parts"].items()}
    assert states == {
        "oracles": ("cut off", 1),
        "decoding": ("failed", 0),
        "sft": ("started", 0),
        "serving": ("skipped", 0),
    }
    assert found["parts"]["oracles"]["seconds"] == 3.0
    text = markdown(found)
    assert "Measured on **A card** (torch 2)" in text
    assert "Cut off: its 3 seconds were over. So far:" in text
    assert "| all is well | passed | 1e-06 |" in text
    assert "Failed: RuntimeError: no room." in text
    assert "Skipped: no time left." in text


def test_the_page_keeps_what_is_around_the_figures(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nlast words\n", encoding="utf-8")
    for text in ("first\n", "second\n"):
        put(page, text)
    assert page.read_text(encoding="utf-8") == f"# Title\n\n{BEGIN}\n\nsecond\n\n{END}\n\nlast words\n"
    assert BEGIN in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


def test_each_part_is_reached_though_all_before_it_are_cut_off() -> None:
    assert list(PARTS) == list(ORDER)
    *before, _ = (part.seconds for part in PARTS.values())
    assert sum(before) <= SECONDS - LEAST


def test_tests_for_a_gpu_are_refused_without_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty"  # whatever a machine has
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "tests/device"]
    environment = os.environ | {"RERE_TESTS_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "", "HOME": str(empty)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "sees no GPU on this machine" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_wheels_are_those_of_the_library_without_torch() -> None:
    names = {line.split("==")[0] for line in needed(ROOT / "pyproject.toml")}
    assert {"transformers", "tokenizers", "peft", "pandas", "recbole", "pydantic-core"} <= names
    assert not {"torch", "zenml", "mlflow", "pytest"} & names
