"""The changes of a live catalogue on disk: an append-only log that several services share.

A line is one change as JSON. All lines in their order are the state: whoever changes something takes a lock, reads what
others have written since, and appends, so no service forgets another's removal. A line is confirmed only when it is on
disk (fsync); what a crash left of one, without its line break, is cut off by the next writer. Readers need no lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rere.errors import RereError
from rere.serving.appended_file import append, locked
from rere.serving.live_catalog import CatalogEdits

logger = logging.getLogger(__name__)


class Change(BaseModel):
    """One line: items offered anew (id -> title), ids offered again, ids no longer offered; in this order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    added: dict[str, str] = {}
    restored: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    time: str = ""  # ISO 8601, UTC

    @classmethod
    def now(
        cls, added: dict[str, str] | None = None, restored: Sequence[str] = (), removed: Sequence[str] = ()
    ) -> Change:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(added=added or {}, restored=tuple(restored), removed=tuple(removed), time=moment)

    def then(self, later: Change) -> Change:
        """One change that does what this one and a later one do."""
        again = set(later.restored)
        removed = dict.fromkeys([*(item for item in self.removed if item not in again), *later.removed])
        return Change(
            added={**self.added, **later.added, **self.added},
            restored=tuple(dict.fromkeys([*self.restored, *later.restored])),
            removed=tuple(removed),
            time=later.time,
        )


def after(edits: CatalogEdits, changes: Iterable[Change]) -> CatalogEdits:
    """What holds after these changes, in time that grows with them and not with their square.

    An item keeps the title that it was first added with, and its place in the order of additions.
    """
    added, removed = dict(edits.added), set(edits.removed)
    for change in changes:
        for item, title in change.added.items():
            added.setdefault(item, title)
        removed.difference_update(change.restored)
        removed.update(change.removed)
    return CatalogEdits(added, frozenset(removed))


def read_edits(path: Path) -> CatalogEdits:
    """The changes kept in a file that must be there; RereError where it isn't, or holds something else."""
    if not path.is_file():
        raise RereError(
            f"changes of the catalogue at {path}", "no such file", "correct the path, or leave it out for no changes"
        )
    log = EditsLog(path)
    log.refresh()
    return log.edits


class EditsLog:
    """One service's view of the log, and what it couldn't write yet. Used by one thread at a time.

    Args:
        path: the log, made when first written to; None: changes are kept in memory only.

    Attributes:
        edits: what holds as far as this service knows.
        problem: why the last changes aren't on disk; "" when all are.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.problem = path, ""
        self._stored = CatalogEdits()
        self._unwritten: Change | None = None  # all that isn't on disk, as one: a full disk may stay full
        self._read, self._lines = 0, 0  # bytes and lines of the file that `_stored` comes from
        self._old = False  # the file is of the first format: one object over many lines, written anew at each change
        self.edits = CatalogEdits()

    def refresh(self) -> None:
        """Read what was written since.

        Raises:
            RereError: the file can't be read, or holds something else than changes.
        """
        if self.path is None:
            return
        try:
            content = self._new_bytes(self.path)
        except OSError as error:
            raise RereError(
                f"changes of the catalogue in {self.path}", str(error), "make the file readable, or correct the path"
            ) from error
        try:
            self._take(content)
        finally:  # what stands before a line that can't be read holds all the same
            self._total()

    def _take(self, content: bytes) -> None:
        self._old = self._read == 0 and content.split(b"\n", 1)[0].strip() == b"{"
        if self._old:
            self._stored = after(self._stored, [self._parsed(content)])
            return
        changes: list[Change] = []
        try:
            for line in content.splitlines(keepends=True):
                if line.endswith(b"\n"):
                    changes.append(self._parsed(line))
                    self._read += len(line)
                    self._lines += 1
        finally:
            self._stored = after(self._stored, changes)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other service changes the log, and what others wrote before is read.

        Where that can't be had (a full disk, an unreadable file), `problem` says why, and the work goes on: a removal
        must take effect at once, and the log is caught up with later.
        """
        self.problem = "" if self.path else "the service was started without a file to keep changes in"
        try:
            lock = locked(self.path) if self.path else None
        except (OSError, RereError) as error:
            self.problem, lock = str(error), None
        try:
            if not self.problem:
                self.refresh()
        except RereError as error:
            self.problem = str(error)
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def append(self, change: Change | None = None) -> None:
        """Write a change and what wasn't written before; to be called within `alone`. `problem` says how it went."""
        if change is not None:
            self._unwritten = change if self._unwritten is None else self._unwritten.then(change)
            self._total()
        if self.problem or self._unwritten is None or self.path is None:
            return
        line = _line(self._unwritten)
        try:
            if self._old:
                self._convert(self.path)
            append(self.path, self._read, line)
        except OSError as error:
            self.problem = str(error)
            return
        self._stored, self._unwritten = after(self._stored, [self._unwritten]), None
        self._read += len(line)
        self._lines += 1
        self._total()

    def _convert(self, path: Path) -> None:
        line = _line(Change(added=dict(self._stored.added), removed=tuple(sorted(self._stored.removed))))
        scratch = path.with_name(path.name + ".new")
        with scratch.open("wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        self._old, self._read, self._lines = False, len(line), 1

    def _total(self) -> None:
        self.edits = after(self._stored, [] if self._unwritten is None else [self._unwritten])

    def _new_bytes(self, path: Path) -> bytes:
        """What follows after what was read."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._keep_what_was_lost(size)
                file.seek(self._read)
                return file.read()
        except FileNotFoundError:
            self._keep_what_was_lost(0)
            return b""

    def _keep_what_was_lost(self, size: int) -> None:
        """A file that is shorter than what was read from it replaced another: no removal may be forgotten."""
        if size >= self._read:
            return
        self.problem = f"{self.path} was removed or replaced; the changes known here are written to it again"
        logger.error(self.problem)
        known = Change.now(dict(self._stored.added), removed=sorted(self._stored.removed))
        self._unwritten = known if self._unwritten is None else known.then(self._unwritten)
        self._stored, self._read, self._lines = CatalogEdits(), 0, 0

    def _parsed(self, line: bytes) -> Change:
        try:
            return Change.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            raise RereError(
                f"changes of the catalogue in {self.path}",
                f"something else in line {self._lines + 1} ({problem['msg']})",
                "stop the services that use the file, then restore it, or remove that line",
            ) from error


def _line(change: Change) -> bytes:
    return change.model_dump_json(exclude_defaults=True).encode() + b"\n"
