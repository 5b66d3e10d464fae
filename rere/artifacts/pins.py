"""What of a run's settings may be something else tomorrow: models by a name that moves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

COMMIT = re.compile(r"[0-9a-f]{40}")
IDS = ("id", "model")  # settings that name something on a hub


def not_pinned(named: Iterable[tuple[str, str]]) -> list[str]:
    """Those of (name on a hub, revision) whose revision is no commit: `org/model (revision main)`."""
    return [
        f"{name} (revision {revision})"
        for name, revision in dict.fromkeys(named)
        if not COMMIT.fullmatch(revision) and not Path(name).exists()
    ]


def unpinned(*settings: BaseModel) -> list[str]:
    """What these settings name on a hub without a commit, at any depth: see `not_pinned`."""
    return not_pinned(pair for one in settings for pair in _revisions(one))


def _revisions(value: Any) -> Iterator[tuple[str, str]]:
    """(name, revision) of all that the settings take from a hub."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from _revisions(one)
    if not isinstance(value, BaseModel):
        return
    fields = dict(value)
    revision = fields.get("revision")
    if isinstance(revision, str):
        yield from ((fields[name], revision) for name in IDS if isinstance(fields.get(name), str))
    for one in fields.values():
        yield from _revisions(one)
