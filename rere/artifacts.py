"""Directories that travel: a manifest of SHA-256 sums, written last, checked before anything is read.

A directory without its manifest was never finished; one whose sums differ was altered. Both are refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rere.errors import RereError

MANIFEST = "manifest.json"


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
    (directory / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
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
    expected: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
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
