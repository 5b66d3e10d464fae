"""Files of a source that have a URL (https://, s3://, whatever fsspec opens), fetched whole before they are read.

They lie in `.rere/downloads` of the project (`$RERE_DOWNLOADS`), one directory per URL and version, which takes its
name when all of it is there: nothing is ever read by halves. A version is known by what the server tells (ETag, size,
time of change); where it tells neither ETag nor time, a file is fetched each time and known by its content. What counts
for the cache and the record is always the content.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rere.artifacts.manifest import fingerprint, sha256, writing
from rere.config.data import Place
from rere.errors import RereError
from rere.project import project_root
from rere.runtime.progress import progress
from rere.runtime.retries import status_of, with_retries

KEPT = 2  # versions of a URL, with the present one: another run may still read the one before
ORIGIN = ".fetched-from"  # the file that says which URL a directory's content is of
TOLD = ("ETag", "LastModified", "Last-Modified", "mtime", "created")  # by file systems, as the state of a file
REMEDIES = {
    401: "log in: give the credentials that its file system asks for (see the data page)",
    403: "ask for access, or give other credentials",
    404: "correct the URL in the `source` setting",
}
NETWORK = "check the URL and the network, and run again: what was fetched whole is kept"


def here(place: Place) -> Path:
    """The file or directory itself for a path; for a URL what was fetched from there, anew where it has changed.

    Raises:
        RereError: nothing there, no access, no network, a file that was cut off, no package for the kind of URL.
    """
    return place if isinstance(place, Path) else _fetched(place)


def sums_of(paths: list[Path]) -> dict[str, str]:
    """Path, or the URL that a file was fetched from -> SHA-256 of its content."""
    return {origin(path): sha256(path) for path in dict.fromkeys(paths)}


def origin(path: Path) -> str:
    """The URL that a file was fetched from; the path itself for any other."""
    for folder in path.parents:
        if (folder / ORIGIN).is_file():
            url = (folder / ORIGIN).read_text(encoding="utf-8")
            inside = path.relative_to(folder).parts[2:]  # below the version and the table's own name
            return "/".join([url.rstrip("/"), *inside])
    return str(path)


def downloads() -> Path:
    """Where fetched files lie."""
    return Path(os.environ.get("RERE_DOWNLOADS") or project_root() / ".rere" / "downloads")


def _fetched(url: str) -> Path:
    system, root = _opened(url)
    with explained(url):
        files = with_retries(lambda: _files(system, root), url)
    if not files:
        raise RereError(f"a file at {url}", "none", REMEDIES[404])
    folder = downloads() / hashlib.sha256(url.encode()).hexdigest()[:16]
    states = {path: _state(info) for path, info in files.items()}
    name = root.rstrip("/").rsplit("/", 1)[-1].partition("?")[0] or "file"
    told = {path: state for path, state in states.items() if state is not None}
    if len(told) == len(files) and (folder / _version(told) / name).exists():
        return folder / _version(told) / name
    with writing(downloads()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ORIGIN).write_text(url, encoding="utf-8")
        scratch = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        try:
            sums = {}
            for path, info in files.items():
                inside = PurePosixPath(path).relative_to(root) if path != root else PurePosixPath()
                target = scratch / name / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with explained(url):
                    with_retries(partial(_get, system, path, info, target), url)
                sums[path] = sha256(target) if states[path] is None else str(states[path])
            known = _version(sums)
            _place(scratch, folder / known)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder / known / name


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {}
    if url.startswith(("http://", "https://")):
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)  # no limit on a whole file
        options = {"headers": {"Accept-Encoding": "identity"}}  # else a size is that of the compressed answer
        options |= {"client_kwargs": {"timeout": limits, "trust_env": True}}
    try:
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError as error:
        raise RereError(
            f"the package that opens {url.partition('://')[0]}:// files",
            str(error),
            "run `pip install -e '.[s3]'` for s3://; for others install the package that the message names",
        ) from error
    except ValueError as error:
        raise RereError(
            "a URL that fsspec knows, such as https://... or s3://...", f"{url}: {error}", NETWORK
        ) from error
    return system, str(root)


def _files(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Path -> what the file system tells of it; of the one file, or of all below a directory of an object store."""
    if root.startswith(("http://", "https://")):
        return {root: system.info(root)}
    if system.isfile(root):
        return {root: system.info(root)}
    found: dict[str, dict[str, Any]] = system.find(root, detail=True)
    files = {path: info for path, info in sorted(found.items()) if not path.endswith("/")}  # some stores mark folders
    if odd := [path for path in files if ".." in PurePosixPath(path).parts]:
        raise ValueError(f"{odd[0]} leads out of its directory")
    return files


def _version(states: dict[str, str]) -> str:
    return fingerprint(states)[:16]


def _state(info: dict[str, Any]) -> str | None:
    """Changes when a file does; None where nothing tells."""
    told = [f"{key} {info[key]}" for key in TOLD if info.get(key) is not None]
    return " ".join([str(info.get("size")), *told]) if told else None


def _get(system: Any, path: str, info: dict[str, Any], target: Path) -> None:
    """Fetch one file; OSError where fewer or more bytes came than the file has."""
    from fsspec.callbacks import TqdmCallback

    target.unlink(missing_ok=True)
    bar = {"desc": f"fetching {target.name}", "unit": "B", "unit_scale": True, "leave": False}
    shown = TqdmCallback(tqdm_kwargs=bar, tqdm_cls=progress)
    try:
        system.get_file(path, str(target), callback=shown)
    finally:
        shown.close()
    size, got = info.get("size"), target.stat().st_size
    if size is not None and got != size:
        raise ConnectionError(f"{got:,} of {size:,} bytes came")


def _place(scratch: Path, target: Path) -> None:
    """Give a version its name, once it is whole; of earlier ones only the newest stay."""
    try:
        scratch.replace(target)
    except OSError:
        if not target.is_dir():  # else another process was as fast
            raise
    versions = [path for path in target.parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for old in sorted(versions, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Within, what a file system or a network refuses is a RereError."""
    try:
        yield
    except Exception as error:  # each file system has errors of its own
        status = status_of(error)
        if status is None and isinstance(error, (FileNotFoundError, PermissionError)) and error.__cause__ is None:
            status = 404 if isinstance(error, FileNotFoundError) else 403
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        said = " ".join(str(cause).split())[:300]
        kind = type(cause).__name__ if status is None else f"HTTP status {status}"
        got = f"{kind}: {said}" if said else kind
        raise RereError(f"a file at {url}", got, REMEDIES.get(status or 0, NETWORK)) from error
