"""The engine and a training on a device that isn't the CPU: no tensor is made where it can't be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.device.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]


def run(device: str, *options: str) -> list[dict[str, Any]]:
    """Checks in a process of their own: the device is registered for good."""
    command = [sys.executable, "-m", "tests.device.checks", "--device", device, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(("device", "dtype"), [("pretend", "float32"), ("cpu", "bfloat16")])
def test_all_checks_pass(device: str, dtype: str) -> None:
    records = run(device, "--dtype", dtype, "--kinds", "llama", "gemma2")
    assert [record["check"] for record in records] == [check.__name__ for check in CHECKS]
    assert [record for record in records if record["outcome"] != "passed"] == []


def test_the_device_refuses_what_a_gpu_would() -> None:
    script = """
import torch
from tests.device.pretend import register
device = register()
there, here = torch.arange(3, device=device), torch.arange(3)
for work in (lambda: there + here, lambda: there[here], lambda: there.numpy()):
    try:
        work()
    except (RuntimeError, TypeError):
        print("refused")
print((there + there).tolist(), (there.to("cpu") + here).tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["refused"] * 3 + ["[0, 2, 4] [0, 2, 4]"], done.stderr
