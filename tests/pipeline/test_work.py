"""Work directories: the same work finds its place again, other work never does."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.runtime import run_dirs as work
from rere.config.sft import SFTConfig
from rere.errors import RereError
from rere.runtime.launchers.local import LocalLauncher


@pytest.fixture
def at_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    planned: list[Path] = []
    monkeypatch.setattr(atexit, "register", lambda function, path, **options: planned.append(path))
    return planned


def be_killed() -> None:
    with work.work_directory("sft", SFTConfig(), "data") as first:
        (first / "checkpoint").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt


def test_a_failed_training_finds_its_directory_again(at_exit: list[Path]) -> None:
    with pytest.raises(KeyboardInterrupt):
        be_killed()
    assert at_exit == []  # a killed run keeps it
    with work.work_directory("sft", SFTConfig(), "data") as again:
        assert (again / "checkpoint").read_text(encoding="utf-8") == "half"
    assert at_exit == [again]


def test_other_settings_or_data_get_another_directory(at_exit: list[Path]) -> None:
    directories = set()
    for determinants in [(SFTConfig(), "data"), (SFTConfig(epochs=11), "data"), (SFTConfig(), "other data")]:
        with work.work_directory("sft", *determinants) as directory:
            directories.add(directory)
    assert len(directories) == 3


def test_another_number_of_processes_goes_on_in_the_same_directory(at_exit: list[Path]) -> None:
    directories = set()
    for processes in (1, 2):
        config = SFTConfig(launcher=LocalLauncher(processes=processes))
        with work.work_directory("sft", config.as_one(), "data") as directory:
            directories.add(directory)
    assert len(directories) == 1


def test_the_second_run_of_the_same_is_turned_away_and_the_firsts_work_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, time\nfrom rere.config.sft import SFTConfig\nfrom ops.runtime import run_dirs as work\n"
        "with work.work_directory('sft', SFTConfig(), 'data') as place:\n"
        "    (place / 'checkpoint').write_text('live')\n    print('works', flush=True)\n    time.sleep(3600)\n"
    )
    environment = {**os.environ, "RERE_WORK_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert first.stdout is not None
    assert first.stdout.readline() == "works\n"
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    second = work.work_directory("sft", SFTConfig(), "data")
    with pytest.raises(RereError, match=rf"under way: process {first.pid} of .*run again: this step then comes from"):
        second.__enter__()
    assert [directory.read_text(encoding="utf-8") for directory in tmp_path.glob("*/checkpoint")] == ["live"]
    first.kill()
    first.wait()
