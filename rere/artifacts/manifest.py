"""Sealed directories: a manifest of SHA-256 sums, written last and checked before anything is read.

A directory without its manifest was never finished; one whose sums differ was altered. Both are refused. A directory
that can't be written to (full or read-only disk) is an error that says so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rere.errors import RereError

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
DATABASE = ("database or disk is full", "attempt to write a readonly database", "disk I/O error")  # SQLite's words
FORBIDDEN = (errno.EACCES, errno.EPERM)
REMEDY = "delete what is left of it and make it again: run the command that made it"
SETTLED = 0.1  # seconds; a file that changed a moment ago may change again without another time
_read: dict[Path, tuple[tuple[int, ...], str]] = {}  # of this process: file -> its state, and its sum then


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(directory: Path) -> dict[str, str]:
    """Write the manifest of all files below `directory`; returns relative path -> SHA-256."""
    sums = {
        path.relative_to(directory).as_posix(): sha256(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    fresh = directory / f"{MANIFEST}.new"
    fresh.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    fresh.replace(directory / MANIFEST)  # half a manifest never lies under its name
    return sums


def is_sealed(directory: Path) -> bool:
    """Whether `seal` has finished there; the files are not checked."""
    return (directory / MANIFEST).exists()


def sealed(directory: Path, called: str | None = None, remedy: str | None = None) -> dict[str, str]:
    """The sums that `directory` was sealed with: relative path -> SHA-256. No file but the manifest is read.

    Args:
        called: what a message calls the directory, where it is a copy of something.
        remedy: what a message advises.

    Raises:
        RereError: no manifest (half-written, or gone), or one that was cut short.
    """
    manifest, called = directory / MANIFEST, called or str(directory)
    if not manifest.is_file():
        got = f"no {MANIFEST}: it is half-written" if directory.is_dir() else "nothing there"
        raise RereError(f"a finished artifact at {called}", got, remedy or REMEDY)
    try:
        sums: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:  # a copy that was cut short
        raise RereError(f"a whole {called}/{MANIFEST}", f"an unreadable one ({error})", remedy or REMEDY) from error
    return sums


def verify(directory: Path, called: str | None = None, remedy: str | None = None) -> dict[str, str]:
    """Check `directory` against its manifest; returns the sums. See `sealed` for the arguments.

    A file that this process has read before isn't read again unless it changed: a model is summed up once where it
    enters, however many steps of a run take it.

    Raises:
        RereError: no manifest (half-written), a missing or extra file, or a file whose sum differs.
    """
    expected = sealed(directory, called, remedy)
    called = called or str(directory)
    found = {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    if found.keys() != expected.keys():
        odd = ", ".join(sorted(found.keys() ^ expected.keys()))
        raise RereError(f"the files that {called}/{MANIFEST} lists", f"a difference in: {odd}", remedy or REMEDY)
    for name, path in found.items():
        if _sum_of(path) != expected[name]:
            raise RereError(
                f"{name} as {called}/{MANIFEST} records it", "other bytes: it was altered", remedy or REMEDY
            )
    return expected


def _sum_of(path: Path) -> str:
    """SHA-256 of a file; from memory where this process has read it and it has the size, times and number it had."""
    began, about = time.time(), path.stat()
    state = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
    known = _read.get(path.resolve())
    if known is not None and known[0] == state:
        return known[1]
    found = sha256(path)
    if about.st_mtime < began - SETTLED:
        _read[path.resolve()] = (state, found)
    return found


def fingerprint(sums: dict[str, str]) -> str:
    """One SHA-256 for a whole sealed directory: of its sorted `path sum` lines."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(sums.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def writing(directory: Path | str) -> Iterator[None]:
    """Within, something is written below `directory`; a full or read-only disk is a RereError that says so.

    Libraries wrap the system's error in one of their own, or lose it: then its text is looked for, and at last a small
    file is tried.
    """
    try:
        yield
    except RereError:
        raise
    except Exception as error:
        if (problem := disk_problem(error, Path(directory))) is None:
            raise
        raise problem from error


def disk_problem(error: BaseException, directory: Path) -> RereError | None:
    """What to tell a person when an error comes from a full or read-only disk at `directory`; None for others."""
    if (problem := _unwritable(error) or _try(directory)) is None:
        return None
    return RereError(
        f"room and permission to write below {directory}",
        problem,
        "free or enlarge the disk, or make it writable, and run again: finished work is kept",
    )


def _unwritable(error: BaseException) -> str | None:
    """The system's words for why nothing could be written, if that is what an error (or its cause) is about."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (*FULL, *FORBIDDEN):
            return os.strerror(seen.errno)
        for code in FULL:
            if os.strerror(code) in str(seen):
                return os.strerror(code)
        for said in DATABASE:
            if said in str(seen):
                return said
        seen = seen.__cause__ or seen.__context__
    return None


def _try(directory: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=directory) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
    except OSError as error:
        return _unwritable(error)
    return None
