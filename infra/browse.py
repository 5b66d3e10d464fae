"""Become a server, and open its page in a browser once it answers: `python -m infra.browse URL COMMAND...`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable

from infra.ports import answers

PAUSE = 0.5  # seconds between two tries


def open_once_up(url: str, wanted: Callable[[], bool], show: Callable[[str], object] = webbrowser.open) -> bool:
    """Whether it was shown: `wanted` says, before each try, whether anybody still waits for it."""
    while wanted():
        if answers(url):
            show(url)
            return True
        time.sleep(PAUSE)
    return False


def open_beside(url: str) -> None:
    """Start a process that opens the page; for a program that then becomes the server (`os.execvp`)."""
    nothing = subprocess.DEVNULL  # a browser that draws in the terminal has no place beside a server
    subprocess.Popen([sys.executable, "-m", "infra.browse", url], stdin=nothing, stdout=nothing, stderr=nothing)


if __name__ == "__main__":
    address, *server = sys.argv[1:]
    if server:
        open_beside(address)
        print(f"{address} is up in some seconds. Ctrl-C ends it.", flush=True)
        os.execvp(server[0], server)
    parent = os.getppid()  # the server's process; once it is gone, nobody waits
    open_once_up(address, wanted=lambda: os.getppid() == parent)
