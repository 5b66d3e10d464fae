"""A lease: one holder at a time, who is named; a killed one doesn't block, be it on this machine or on another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rere.runtime.lease import Held, Lease

HOLD = """
import platform, socket, sys, time
from pathlib import Path
if sys.argv[2]:
    socket.gethostname = platform.node = lambda: sys.argv[2]
from rere.runtime.lease import Lease
Lease(Path(sys.argv[1]), seconds=2).take()
print("held", flush=True)
time.sleep(3600)
"""


def holder(place: Path, machine: str = "") -> subprocess.Popen[str]:
    """A process that holds the lease at `place`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place), machine],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_holds_it_and_gets_it_afterwards(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock")
    with pytest.raises(Held, match=rf"process {process.pid} of .* on .*, since 20") as refused:
        Lease(tmp_path / "lock", seconds=2).take()
    assert refused.value.holder is not None
    process.kill()
    process.wait()
    lease = Lease(tmp_path / "lock", seconds=2)
    lease.take()
    now = lease.holder()
    assert now is not None
    assert now.process == os.getpid()
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_on_another_machine_is_found_gone_by_its_silence(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock", "elsewhere")
    process.send_signal(signal.SIGKILL)
    process.wait()
    lease = Lease(tmp_path / "lock", seconds=2)
    lease.take()
    lease.release()


def test_a_lease_is_free_again_after_its_release(tmp_path: Path) -> None:
    first, second = Lease(tmp_path / "lock"), Lease(tmp_path / "lock")
    first.take()
    with pytest.raises(Held):
        second.take()
    first.release()
    second.take()
    second.release()
