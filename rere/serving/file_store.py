"""Files of any file system that fsspec knows (local, S3, ...)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

from rere.data.tables import PARQUET
from rere.errors import RereError

REMEDY = "correct the path, or give this machine (and each Ray node) the right to it"
# What file systems tell of a file's state, each in a spelling of its own: s3fs ETag, adlfs last_modified, ...
STATE = ("size", "etag", "mtime", "lastmodified", "created", "updated", "generation", "md5hash")


def plain_key(key: str) -> str:
    """A key of `info` whatever its spelling."""
    return key.lower().replace("_", "").replace("-", "")


def beside(path: Path) -> Path:
    """A hidden name for what is to be moved to `path` when it is whole: no two writers, of whatever machine, share it.

    One that another opened as well would be emptied under its final name, and gone when its own turn comes.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")


class Files:
    """A directory (or, for reading, one file) by path or URL."""

    def __init__(self, location: Path | str) -> None:
        """RereError for a URL that nothing here can open."""
        self.location = str(location)
        with explained(f"a file system for {location}"):
            self.system, self.root = fsspec.core.url_to_fs(self.location)

    def parquet(self) -> list[str]:
        """Data files in order of their names; RereError where there are none."""
        with explained(f"users at {self.location}"):
            if self.system.isfile(self.root):
                return [self.root]
            self.system.invalidate_cache()
            found = sorted(self.system.find(self.root)) if self.system.exists(self.root) else []
        begin = self.root.rstrip("/") + "/"
        names = {path: path.removeprefix(begin).split("/") for path in found}
        data = [path for path, parts in names.items() if not any(part.startswith(("_", ".")) for part in parts)]
        if other := [path for path in data if not path.lower().endswith(PARQUET)]:
            raise RereError(
                f"Parquet files at {self.location}", other[0], "convert it; CSV is for `engine: {type: local}`"
            )
        if not data:
            raise RereError(f"Parquet files at {self.location}", "none", "correct `users.path`")
        return data

    def identity(self, file: str) -> str:
        """Changes when the file does, as far as its file system tells."""
        with explained(f"a file at {file}"):
            info = {plain_key(key): value for key, value in self.system.info(file).items()}
        return " ".join(str(info[key]) for key in STATE if info.get(key) is not None)

    @contextmanager
    def opened(self, file: str) -> Iterator[Any]:
        """A `ParquetFile`."""
        with explained(f"a readable users table in {file}"), self.system.open(file, "rb") as stream:
            yield parquet.ParquetFile(stream)

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None where there is none."""
        with explained(f"a readable file {name} in {self.location}"):
            path = self.path(name)
            return self.system.cat_file(path) if self.system.exists(path) else None

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all."""
        with explained(f"room and permission to write {name} in {self.location}"):
            path = Path(self.path(name))
            if isinstance(self.system, LocalFileSystem):
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch = beside(path)
                try:
                    scratch.write_bytes(content)
                    scratch.replace(path)
                finally:
                    scratch.unlink(missing_ok=True)
            else:
                self.system.pipe_file(self.path(name), content)  # an object appears when it is complete

    def path(self, name: str) -> str:
        """Of a file in the directory."""
        return f"{self.root.rstrip('/')}/{name}"

    def names(self) -> set[str]:
        """Of the files in the directory; not of what a killed writer left of one, see `beside`."""
        with explained(f"a directory at {self.location}"):
            self.system.invalidate_cache()
            if not self.system.exists(self.root):
                return set()
            found = {path.rsplit("/", 1)[-1] for path in self.system.find(self.root, maxdepth=1)}
            return {name for name in found if not name.startswith(".")}


@contextmanager
def explained(expected: str) -> Iterator[None]:
    """Within, what a file system or a Parquet reader refuses is a RereError."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, ImportError) as error:
        raise RereError(expected, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", REMEDY) from error
    except Exception as error:
        if type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
            raise RereError(expected, f"{type(error).__name__}: {str(error)[:300]}", REMEDY) from error
        raise
