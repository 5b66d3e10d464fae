"""Where a training step keeps its checkpoints until its result is stored, so that a killed run resumes.

`$RERE_WORK_DIR` (default `.rere/work` in the project) holds one directory per training, named by a hash of all that
determines it: settings, inputs, code. A rerun of the same finds it; another setting never does. Of two runs of the same
at once, the second is turned away: the first one's result will be in the cache.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from rere.artifacts.manifest import writing
from rere.catalog.index import CatalogIndex
from rere.errors import RereError
from rere.project import project_root
from rere.runtime.lease import Held, Lease

_held: dict[Path, Lease] = {}  # of this process


def work_root() -> Path:
    """The directory of all work directories."""
    return Path(os.environ.get("RERE_WORK_DIR") or project_root() / ".rere" / "work")


@contextmanager
def work_directory(stage: str, *determinants: str | BaseModel) -> Iterator[Path]:
    """A directory that outlives a failure and goes when the process that finished the training ends.

    It can't go at once: the result lies in it until ZenML has stored it, after the step returned.

    Raises:
        RereError: what is done within can't be written, for the disk is full or read-only; or another process works
            in it.
    """
    texts = [part if isinstance(part, str) else part.model_dump_json() for part in determinants]
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    root = work_root()
    directory = root / f"{stage}-{key}"
    with writing(root):
        _hold(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            yield directory
        except BaseException:
            _held.pop(directory).release()
            raise
    atexit.register(end_work, directory)


def end_work(directory: Path) -> None:
    """Remove a work directory, and give it back where this process holds it."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory in _held:
        _held.pop(directory).release()


def clear_work() -> tuple[list[Path], list[Path]]:
    """Remove the directories of trainings that nobody works at; returns those, and those that are in use."""
    removed, used = [], []
    for directory in sorted(path for path in work_root().glob("*") if path.is_dir()):
        lease = lease_of(directory)
        try:
            lease.take()
        except Held:
            used.append(directory)
            continue
        shutil.rmtree(directory, ignore_errors=True)
        lease.release()
        removed.append(directory)
    return removed, used


def lease_of(directory: Path) -> Lease:
    """The lease on a work directory; it lies beside it."""
    return Lease(directory.with_name(f"{directory.name}.lock"))


def catalogue_fingerprint(catalog: CatalogIndex) -> str:
    """SHA-256 of a catalogue: ids, titles, tokens, what stands around the history, and what else is read of items."""
    seen = [catalog.item_ids, catalog.titles, catalog.item_tokens, list(catalog.prompt_head)]
    if catalog.further_heads or catalog.prompt_tail:
        seen += [list(catalog.further_heads), list(catalog.prompt_tail)]
    if catalog.config.text_columns:
        seen.append(catalog.descriptions)
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def columns_fingerprint(catalog: CatalogIndex) -> str:
    """SHA-256 of the items' further columns, all of which a user's own reward may read."""
    columns = {name: catalog.columns[name].tolist() for name in catalog.column_kinds}
    return hashlib.sha256(json.dumps(columns, default=str).encode()).hexdigest()


def _hold(directory: Path) -> None:
    if directory in _held:  # the same work again, before this process has ended
        return
    lease = lease_of(directory)
    try:
        lease.take()
    except Held as held:
        raise RereError(
            f"no other run of the same training (its directory is {directory})",
            f"one that is under way: {held.holder or 'another process'}",
            "wait until it has ended and run again: this step then comes from the cache",
        ) from None
    _held[directory] = lease
