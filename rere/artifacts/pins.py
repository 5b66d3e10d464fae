"""What of a run's settings may be something else tomorrow: models by a name that moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

COMMIT = re.compile(r"[0-9a-f]{40}")
IDS = ("id", "model")  # settings that name something on a hub


def unpinned(*settings: BaseModel) -> list[str]:
    """Each `revision` below these settings that is no commit, with what it is of: `org/model (revision main)`."""
    return list(dict.fromkeys(name for one in settings for name in _unpinned(one)))


def _unpinned(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _unpinned(one)
    if not isinstance(value, BaseModel):
        return
    fields = dict(value)
    revision = fields.get("revision")
    if isinstance(revision, str) and not COMMIT.fullmatch(revision):
        named = (fields[name] for name in IDS if isinstance(fields.get(name), str))
        yield from (f"{name} (revision {revision})" for name in named if not Path(name).exists())
    for one in fields.values():
        yield from _unpinned(one)
