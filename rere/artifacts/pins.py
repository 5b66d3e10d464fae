"""What of a run's settings may be something else tomorrow: names on a hub whose revision is a branch or a tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION = "revision"  # of a model; of a data set the setting is called `NAME_revision`, beside `NAME`
MODEL_NAMES = ("id", "model")  # the settings beside `revision` that name a model

M = TypeVar("M", bound=BaseModel)


class HubName(NamedTuple):
    """What settings take from a hub."""

    name: str
    revision: str
    kind: Literal["model", "dataset"]

    @property
    def key(self) -> str:
        """By which its commit is kept; as in the hub's addresses, a data set may have a model's name."""
        return f"{'datasets/' if self.kind == 'dataset' else ''}{self.name}@{self.revision}"


def not_pinned(named: Iterable[tuple[str, str]]) -> list[str]:
    """Those of (name on a hub, revision) whose revision is no commit: `org/model (revision main)`."""
    return [f"{name} (revision {revision})" for name, revision in dict.fromkeys(named) if _moves(name, revision)]


def unpinned(*settings: BaseModel | None) -> list[str]:
    """What these settings name on a hub without a commit, at any depth: see `not_pinned`."""
    return not_pinned((one.name, one.revision) for one in moving(*settings))


def moving(*settings: BaseModel | None) -> list[HubName]:
    """What these settings name on a hub without a commit, at any depth; None is a stage that doesn't run."""
    named = (found for one in settings if one is not None for _, found in _named(one.model_dump(mode="json")))
    return [one for one in dict.fromkeys(named) if _moves(one.name, one.revision)]


def pinned(settings: M, commits: Mapping[str, str]) -> M:
    """The settings with commits in place of the revisions that have one.

    Args:
        commits: by `HubName.key`.
    """
    if not commits:
        return settings
    return type(settings).model_validate(pinned_values(settings.model_dump(mode="json"), commits))


def pinned_values(value: Any, commits: Mapping[str, str]) -> Any:
    """As `pinned`, for settings as plain values: dicts and lists at any depth."""
    if isinstance(value, list | tuple):
        return [pinned_values(one, commits) for one in value]
    if not isinstance(value, Mapping):
        return value
    known = {field: commits[found.key] for field, found in _of(value) if found.key in commits}
    return {key: known.get(key) or pinned_values(one, commits) for key, one in value.items()}


def _named(value: Any) -> Iterator[tuple[str, HubName]]:
    """(field of the revision, what it is of) at any depth of plain values."""
    if isinstance(value, Mapping):
        yield from _of(value)
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)


def _of(values: Mapping[str, Any]) -> Iterator[tuple[str, HubName]]:
    for field, revision in values.items():
        names = MODEL_NAMES if field == REVISION else (field.removesuffix(f"_{REVISION}"),)
        if field.endswith(REVISION) and isinstance(revision, str):
            for name in names:
                if name != field and isinstance(values.get(name), str):
                    yield field, HubName(values[name], revision, "model" if field == REVISION else "dataset")


def _moves(name: str, revision: str) -> bool:
    return not COMMIT.fullmatch(revision) and not Path(name).exists()
