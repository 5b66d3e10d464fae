"""Bars in a log: few whole lines, the first and the last always. (Here standard error is no terminal.)"""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.logging import set_tqdm_hook

from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.runtime import progress as module
from rere.runtime.progress import progress
from tests.conftest import TINY

SHOWN: dict[str, Any] = {"disable": False}  # whatever TQDM_DISABLE says


def counts(log: str) -> list[int]:
    """Of each whole line, how far it says that a bar of 30 is."""
    assert log.endswith("\n")
    assert "\r" not in log
    assert "\x1b" not in log
    return [int(re.findall(r"\| (\d+)/30 ", line)[0]) for line in log.splitlines()]


def test_start_and_end_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(30), **SHOWN):
        pass
    bar = progress(total=30, initial=4, desc="rl", unit="update", **SHOWN)
    for update in range(4, 30):
        bar.set_postfix(reward=update, refresh=False)
        bar.update()
    bar.close()
    log = capsys.readouterr().err
    assert counts(log) == [0, 30, 4, 30]
    assert "reward=29" in log.splitlines()[-1]


def test_a_long_bar_says_where_it_is_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_SECONDS", 0.1)
    began = time.monotonic()
    for _ in progress(range(30), **SHOWN):
        time.sleep(0.02)  # 0.6 s in all, or more on a busy machine: lines at 0.1 s or more from one another
    seconds = time.monotonic() - began
    first, *between, last = counts(capsys.readouterr().err)
    assert (first, last) == (0, 30)
    assert 1 <= len(between) <= seconds / 0.1 + 1
    assert sorted(between) == between


def test_a_bar_that_leaves_is_silent_unless_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress(total=30, **SHOWN) as outer:
        for _ in range(30):
            for _ in progress(range(1000), leave=False, **SHOWN):
                pass
            outer.update()
    assert counts(capsys.readouterr().err) == [0, 30]
    monkeypatch.setattr(module, "LOG_SECONDS", 0.1)
    began = time.monotonic()
    for _ in progress(range(30), leave=False, **SHOWN):
        time.sleep(0.02)
    seconds = time.monotonic() - began
    assert 1 <= len(counts(capsys.readouterr().err)) <= seconds / 0.1 + 1


def test_a_terminal_has_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in progress(range(30), mininterval=0, **SHOWN):
        pass
    assert terminal.getvalue().count("\r") > 20


def test_loading_and_saving_weights_leaves_nothing_in_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[str] = []
    tamed = set_tqdm_hook(None)
    assert tamed is not None

    def shown(bar: Any, arguments: Any, options: dict[str, Any]) -> Any:
        made.append(options["desc"])
        return tamed(bar, arguments, options | SHOWN)

    set_tqdm_hook(shown)
    try:
        directory = tmp_path / "model"
        save_checkpoint(load_model(TINY, 300, seed=0), directory, [], {})
        Checkpoint(directory).load_model()
    finally:
        set_tqdm_hook(tamed)
    assert made == ["Writing model shards", "Loading weights", "Loading weights"]  # saving reads it back once
    assert made[1] not in capsys.readouterr().err
