"""Directories that travel: a manifest of SHA-256 sums, written last, checked before anything is read.

A directory without its manifest was never finished; one whose sums differ was altered. Both are refused. And a place
that can't be written to (full, read-only) is said to be so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rere.errors import RereError

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FORBIDDEN = (errno.EACCES, errno.EPERM)


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


def verify(directory: Path) -> dict[str, str]:
    """Check `directory` against its manifest; returns the sums.

    Raises:
        RereError: no manifest (half-written), a missing or extra file, or a file whose sum differs.
    """
    manifest = directory / MANIFEST
    remedy = "delete it and rerun the step that makes it (`zenml pipeline run rere_pipeline`)"
    if not manifest.is_file():
        raise RereError(f"a finished artifact at {directory}", f"no {MANIFEST}: it is half-written", remedy)
    try:
        expected: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:  # a copy that was cut short
        raise RereError(f"a whole {manifest}", f"an unreadable one ({error})", remedy) from error
    found = {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    if found.keys() != expected.keys():
        odd = ", ".join(sorted(found.keys() ^ expected.keys()))
        raise RereError(f"the files that {manifest} lists", f"a difference in: {odd}", remedy)
    for name, path in found.items():
        if sha256(path) != expected[name]:
            raise RereError(f"{name} as {manifest} records it", "other bytes: it was altered", remedy)
    return expected


def fingerprint(sums: dict[str, str]) -> str:
    """One SHA-256 for a whole sealed directory: of its sorted `path sum` lines."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(sums.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Within, something is written below `place`; a full or read-only disk is a RereError that says so.

    Libraries wrap the system's error in one of their own, or lose it: then its text is looked for, and at last a small
    file is tried.
    """
    try:
        yield
    except RereError:
        raise
    except Exception as error:
        if (problem := _unwritable(error) or _try(Path(place))) is None:
            raise
        raise RereError(
            f"room and permission to write below {place}",
            problem,
            "free or enlarge the disk, or make it writable, and run again: finished work is kept",
        ) from error


def _unwritable(error: BaseException) -> str | None:
    """The system's words for why nothing could be written, if that is what an error (or its cause) is about."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (*FULL, *FORBIDDEN):
            return os.strerror(seen.errno)
        for code in FULL:
            if os.strerror(code) in str(seen):
                return os.strerror(code)
        seen = seen.__cause__ or seen.__context__
    return None


def _try(place: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=place) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
    except OSError as error:
        return _unwritable(error)
    return None
