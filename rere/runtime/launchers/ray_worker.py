"""What each worker does that Ray Train has started."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import NoReturn

from rere.runtime import distributed
from rere.runtime.launch import Exchange
from rere.runtime.progress import VARIABLE as PROGRESS

POLL_SECONDS = 1.0


def share(given: dict[str, str]) -> None:
    """This worker's part; Ray Train has made the process group.

    Args:
        given: `work`, the directory of the exchange; `attempt`, which start of the workers this is; `project`, the
            directory that relative paths in settings start from, where a node has it.
    """
    if Path(given["project"]).is_dir():
        os.chdir(given["project"])
    exchange = Exchange(Path(given["work"]))
    os.environ[PROGRESS] = str(exchange.progress) if distributed.is_main() else os.devnull
    threading.Thread(target=_leave_when_over, args=(exchange.attempt, given["attempt"]), daemon=True).start()
    exchange.call()


def _leave_when_over(current: Path, own: str) -> NoReturn:
    """A worker of an attempt that is over writes nothing any more.

    When a cluster's head is lost, workers on other nodes live on for a minute; the stage may have been started again.
    """
    while True:
        try:
            if current.read_text(encoding="utf-8") != own:
                os._exit(1)
        except OSError:  # the directory is for the moment out of reach, or was removed after the end
            pass
        time.sleep(POLL_SECONDS)
