"""Waiting: as long as there is progress, and no longer."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from infra.patience import HUNG, Hung, Watch, run, until

QUIET = 3.0  # seconds


def python(code: str) -> list[str]:
    return [sys.executable, "-X", "faulthandler", "-c", code]


def test_what_says_something_or_works_may_take_longer() -> None:
    says = "import time\nfor n in range(8): print(n, flush=True); time.sleep(0.7)"
    works = "import time\nstart = time.thread_time()\nwhile time.thread_time() < start + 4: pass"
    assert run(python(says), quiet=QUIET).stdout.split() == [str(n) for n in range(8)]
    assert run(python(works), quiet=QUIET).returncode == 0


def test_the_work_of_a_child_counts() -> None:
    works = "import time\nstart = time.thread_time()\nwhile time.thread_time() < start + 4: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {works!r}])\nprint('done')"
    assert run(python(parent), quiet=QUIET).stdout == "done\n"


def test_what_hangs_is_ended_with_its_children_and_says_where_it_was() -> None:
    child = "import time\nprint('asleep', flush=True)\ntime.sleep(600)"
    parent = f"import subprocess, sys\ndef waiting(): subprocess.run([sys.executable, '-c', {child!r}])\nwaiting()"
    with pytest.raises(Hung, match=r"(?s)no work for 1 s.*asleep.*in waiting"):
        run(python(parent), quiet=1.0)


def test_output_and_status_are_kept_as_subprocess_keeps_them() -> None:
    code = "import sys\nprint('out')\nprint('error', file=sys.stderr)\nsys.exit(3)"
    merged, apart = run(python(code)), run(python(code), stderr=subprocess.PIPE)
    assert (merged.returncode, sorted(merged.stdout.split()), merged.stderr) == (3, ["error", "out"], "")
    assert (apart.stdout, apart.stderr) == ("out\n", "error\n")


def test_a_condition_that_another_thread_brings_about() -> None:
    done = threading.Event()
    threading.Timer(0.2, done.set).start()
    until(done.is_set)
    with pytest.raises(Hung, match="the moon"):
        until(lambda: False, "the moon", quiet=0.5)


def look_until_it_hangs(watch: Watch) -> None:
    while True:
        watch.look("this loop")


def test_looking_is_no_work() -> None:
    """The watch over this very process doesn't count the thread that waits."""
    with pytest.raises(Hung):
        look_until_it_hangs(Watch(quiet=1.0))


def test_as_a_command_it_hands_on_the_status() -> None:
    assert subprocess.run([sys.executable, "-m", "infra.patience", *python("raise SystemExit(5)")]).returncode == 5
    assert HUNG == 124
