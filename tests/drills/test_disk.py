"""A full disk and a read-only one: one message, nothing half-written taken for whole, and on when there is room."""

from __future__ import annotations

import atexit
import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from materializers.dataset import DatasetMaterializer
from ops.runtime import run_dirs as work
from ops.runtime.reports import write_report
from rere.artifacts.manifest import writing
from rere.catalog.index import CatalogIndex
from rere.data.dataset import Dataset, Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.drills.store import local_store
from tests.drills.victims import SFT

Mount = Callable[[str], None]
SAID = r"Expected room and permission to write below {}.*got {}.*Fix: free or enlarge the disk"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A small disk of its own, and a way to mount it anew with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")

    mount("size=100k")
    yield folder, mount
    subprocess.run(["umount", folder], check=True)


def test_training_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    disk: tuple[Path, Mount],
    tuned: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, mount = disk
    monkeypatch.setenv("RERE_WORK_DIR", str(folder))
    monkeypatch.setattr(atexit, "register", lambda *_, **__: None)

    def train() -> Checkpoint:
        with work.work_directory("sft", SFT) as directory:
            return train_sft(world_windows, world_catalog, TINY, SFT, directory, log=lambda *_: None)

    with pytest.raises(RereError, match=SAID.format(folder, "No space left on device")):
        train()
    assert not list(folder.glob("*/model/manifest.json"))
    mount("remount,size=64m")
    made = train()
    assert made.verify().keys() == tuned.verify().keys()
    assert made.verify()["model.safetensors"] == tuned.verify()["model.safetensors"]
    work.end_work(made.path.parent)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("options", "said"), [("", "No space left on device"), ("ro", "Read-only file system")])
def test_a_store_that_takes_nothing_registers_nothing(
    options: str, said: str, disk: tuple[Path, Mount], world_dataset: Dataset
) -> None:
    folder, mount = disk
    if options:
        mount(f"remount,{options}")
    else:
        (folder / "ballast").write_bytes(bytes(96 << 10))
    uri = folder / "artifact"
    materializer = DatasetMaterializer(str(uri), local_store(folder))
    with pytest.raises(RereError, match=SAID.format(uri, said)):
        materializer.save(world_dataset)
    assert not (uri / "data" / "manifest.json").exists()
    mount("remount,rw,size=64m")
    materializer.save(world_dataset)
    pd.testing.assert_frame_equal(materializer.load(data_type=Dataset).items, world_dataset.items)


def test_reports_and_work_on_a_read_only_disk(disk: tuple[Path, Mount], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mount = disk
    mount("remount,ro")
    monkeypatch.setenv("RERE_REPORTS_DIR", str(folder / "reports"))
    monkeypatch.setenv("RERE_WORK_DIR", str(folder / "work"))
    with pytest.raises(RereError, match=SAID.format(folder, "Read-only file system")):
        write_report("<p/>", "latest")
    with pytest.raises(RereError, match=SAID.format(folder, "Read-only file system")), work.work_directory("sft", SFT):
        pytest.fail("there is no place to work in")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_the_systems_word_is_found_below_other_errors(code: int, tmp_path: Path) -> None:
    lost = RuntimeError("the writer failed")
    lost.__cause__ = OSError(code, os.strerror(code))
    with pytest.raises(RereError, match=os.strerror(code)), writing(tmp_path):
        raise lost


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    for error in (ValueError("shape"), FileNotFoundError(errno.ENOENT, "no such file"), RereError("a", "b", "c")):
        with pytest.raises(type(error)) as caught, writing(tmp_path):
            raise error
        assert caught.value is error
    assert not list(tmp_path.iterdir())


def test_a_database_on_a_full_disk_is_the_same_message(disk: tuple[Path, Mount]) -> None:
    folder, _ = disk
    database = sqlite3.connect(folder / "zenml.db")
    with pytest.raises(RereError, match=SAID.format(folder, "database or disk is full")):
        fill(database, folder)
    database.close()


def fill(database: sqlite3.Connection, folder: Path) -> None:
    with writing(folder):
        database.execute("create table rows (content blob)")
        while True:
            database.execute("insert into rows values (?)", (bytes(1 << 16),))
            database.commit()
