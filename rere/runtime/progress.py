"""Progress bars: live on a terminal; without one (CI, a pod's log) whole lines, one every half minute.

In a log, a bar that stays shows its start and its end; a transient one (`leave=False`) shows only if it takes longer
than that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast, overload

from tqdm import tqdm

T = TypeVar("T")
VARIABLE = "RERE_PROGRESS"
LOG_SECONDS = 30.0  # between a bar's lines in a log


class _Lines:
    """What tqdm writes over one line of a terminal, as lines of standard error; none twice.

    In a worker process (rere/runtime/launch.py) they go to the file that `$RERE_PROGRESS` names: its parent shows them.
    """

    def __init__(self) -> None:
        self.last = ""

    def write(self, text: str) -> None:
        line = text.strip()
        if not line or line == self.last:
            return
        self.last = line
        if file := os.environ.get(VARIABLE):
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(line + "\n")
        else:
            sys.stderr.write(line + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


@overload
def progress(items: Iterable[T], **options: Any) -> tqdm[T]: ...
@overload
def progress(items: None = None, **options: Any) -> tqdm[Any]: ...
def progress(items: Iterable[T] | None = None, **options: Any) -> tqdm[T]:
    """A tqdm bar over `items`, or one to `update`.

    Args:
        options: tqdm's. Of a bar's postfix, `refresh=False`: else each one is a line.
    """
    return cast("tqdm[T]", _made(tqdm, (items,), options))


def tame_transformers() -> None:
    """Make transformers' bars (weights loaded, weights saved) transient."""
    from transformers.utils.logging import set_tqdm_hook

    set_tqdm_hook(lambda bar, arguments, options: _made(bar, arguments, {**options, "leave": False}))


def _made(bar: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A `bar` of tqdm's by the rules above."""
    if sys.stderr.isatty():
        return bar(*arguments, **options)
    delay = 0.0 if options.get("leave", True) else LOG_SECONDS
    rules = {"file": _Lines(), "mininterval": LOG_SECONDS, "miniters": 0, "position": 0, "delay": delay}
    return bar(*arguments, **{**options, **rules})
