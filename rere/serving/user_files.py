"""Users in Parquet files of any file system that fsspec knows (local, S3, ...), and their answers, in parts.

A part's answers are one file with one row per user. It appears whole or not at all, so what is there is finished: a run
that ended early goes on with the rest. Each file says in its metadata what was counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

from rere.data.columns import require_columns
from rere.data.parquet_files import plain_frame
from rere.data.tables import PARQUET
from rere.errors import RereError
from rere.serving.batch import BatchResult
from rere.serving.users import COLUMNS, require_one_row_each, user_ids, users_of

RECORD = "_batch.json"  # readers of Parquet directories pass over names with _
COUNTS = b"rere.counts"  # in a file's metadata
REMEDY = "correct the path, or give this machine (and each Ray node) the right to it"
ANSWERS = pa.schema(
    [
        ("row", pa.int64()),  # of all users, from 0
        ("user_id", pa.string()),
        ("item_ids", pa.list_(pa.string())),  # best first; empty where there is a reason
        ("titles", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("model_version", pa.string()),
        ("unknown", pa.list_(pa.string())),  # entries of the history that name no item
        ("based_on", pa.string()),  # history or popularity; empty where there is a reason
        ("reason", pa.string()),  # why there is no answer, else empty
        ("detail", pa.string()),
    ]
)


class Part(NamedTuple):
    """Rows `low` to `high` (exclusive) of a file, whose first one is row `row` of all users."""

    number: int
    file: str
    low: int
    high: int
    row: int


@dataclass(frozen=True)
class Counts:
    """What became of users. reasons: why there was no answer -> users."""

    users: int
    answered: int
    by_popularity: int
    unknown_entries: int
    reasons: dict[str, int]

    @classmethod
    def total(cls, parts: Sequence[Counts]) -> Counts:
        """Of all parts."""
        reasons: Counter[str] = Counter()
        for part in parts:
            reasons.update(part.reasons)
        return cls(
            users=sum(part.users for part in parts),
            answered=sum(part.answered for part in parts),
            by_popularity=sum(part.by_popularity for part in parts),
            unknown_entries=sum(part.unknown_entries for part in parts),
            reasons=dict(sorted(reasons.items())),
        )


class Files:
    """A directory (or, for reading, one file) by path or URL."""

    def __init__(self, place: Path | str) -> None:
        """RereError for a URL that nothing here can open."""
        self.place = str(place)
        with explained(f"a file system for {place}"):
            self.system, self.root = fsspec.core.url_to_fs(self.place)

    def parquet(self) -> list[str]:
        """Data files in order of their names; RereError where there are none."""
        with explained(f"users at {self.place}"):
            if self.system.isfile(self.root):
                return [self.root]
            self.system.invalidate_cache()
            found = sorted(self.system.find(self.root)) if self.system.exists(self.root) else []
        begin = self.root.rstrip("/") + "/"
        names = {path: path.removeprefix(begin).split("/") for path in found}
        data = [path for path, parts in names.items() if not any(part.startswith(("_", ".")) for part in parts)]
        if other := [path for path in data if not path.lower().endswith(PARQUET)]:
            raise RereError(
                f"Parquet files at {self.place}", other[0], "convert it; CSV is for `engine: {type: local}`"
            )
        if not data:
            raise RereError(f"Parquet files at {self.place}", "none", "correct `users.path`")
        return data

    def identity(self, file: str) -> str:
        """Changes when the file does."""
        with explained(f"a file at {file}"):
            info = self.system.info(file)
        return " ".join(str(info.get(key)) for key in ("size", "ETag", "mtime", "LastModified"))

    @contextmanager
    def opened(self, file: str) -> Iterator[Any]:
        """A `ParquetFile`."""
        with explained(f"a readable users table in {file}"), self.system.open(file, "rb") as stream:
            yield parquet.ParquetFile(stream)

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None where there is none."""
        with explained(f"a readable file {name} in {self.place}"):
            path = self.path(name)
            return self.system.cat_file(path) if self.system.exists(path) else None

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all."""
        with explained(f"room and permission to write {name} in {self.place}"):
            path = Path(self.path(name))
            if isinstance(self.system, LocalFileSystem):
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch = path.with_name(f".{path.name}.new")
                scratch.write_bytes(content)
                scratch.replace(path)
            else:
                self.system.pipe_file(self.path(name), content)  # an object appears when it is complete

    def path(self, name: str) -> str:
        """Of a file in the directory."""
        return f"{self.root.rstrip('/')}/{name}"

    def names(self) -> set[str]:
        """Of the files in the directory."""
        with explained(f"a directory at {self.place}"):
            self.system.invalidate_cache()
            if not self.system.exists(self.root):
                return set()
            return {path.rsplit("/", 1)[-1] for path in self.system.find(self.root, maxdepth=1)}


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


def plan(users: Files, part_users: int) -> list[Part]:
    """All users in parts; RereError for a file without the columns."""
    parts: list[Part] = []
    row = 0
    for file in users.parquet():
        with users.opened(file) as table:
            require_columns(table.schema_arrow.names, COLUMNS, file, "rename the columns")
            rows = table.metadata.num_rows
        for low in range(0, rows, part_users):
            high = min(low + part_users, rows)
            parts.append(Part(len(parts), file, low, high, row + low))
        row += rows
    if not parts:
        raise RereError(f"rows in {users.place}", "none", "give files with users")
    return parts


def read_part(users: Files, part: Part, separator: str | None) -> pd.DataFrame:
    """The users of a part, as `read_users` gives them."""
    with users.opened(part.file) as table:
        frame = _rows(table, part)
    ids = user_ids(frame, part.file, part.low)
    return users_of(frame.assign(user_id=ids), part.row, separator)


def _rows(table: Any, part: Part) -> pd.DataFrame:
    groups: list[int] = []
    first, begin = part.low, 0
    for group in range(table.num_row_groups):
        end = begin + table.metadata.row_group(group).num_rows
        if begin < part.high and end > part.low:
            first = begin if not groups else first
            groups.append(group)
        begin = end
    found = []
    for batch in table.iter_batches(part.high - part.low, row_groups=groups, columns=COLUMNS):
        low, high = max(part.low - first, 0), min(part.high - first, len(batch))
        if low < high:
            found.append(batch.slice(low, high - low))
        first += len(batch)
    return plain_frame(pa.Table.from_batches(found))


def require_users_once(users: Files) -> None:
    """RereError where a user comes twice, in whichever files; 8 bytes per user are held."""
    hashes = [np.empty(0, dtype=np.uint64)]
    hashes += [pd.util.hash_array(ids.to_numpy(dtype=object)) for ids in _all_ids(users)]
    ordered = np.sort(np.concatenate(hashes))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):  # the same user, no user, or two by chance
        parts = [ids[np.isin(pd.util.hash_array(ids.to_numpy(dtype=object)), twice)] for ids in _all_ids(users)]
        require_one_row_each(pd.concat(parts, ignore_index=True), users.place)


def _all_ids(users: Files) -> Iterator[pd.Series]:
    for file in users.parquet():
        with users.opened(file) as table:
            row = 0
            for batch in table.iter_batches(100_000, columns=["user_id"]):
                yield user_ids(plain_frame(pa.Table.from_batches([batch])), file, row)
                row += len(batch)


def one_row_each(users: pd.DataFrame, result: BatchResult, version: str) -> pa.Table:
    """Answers and reasons, in the order of the users."""
    lists = result.recommendations.groupby("user_id", sort=False).agg(
        item_ids=("item_id", list),
        titles=("title", list),
        scores=("score", list),
        unknown=("unknown", "first"),
        based_on=("based_on", "first"),
    )
    answered = users[["row", "user_id"]].merge(lists, on="user_id")
    empty = {name: pd.Series([[] for _ in result.unanswered.index]) for name in ("item_ids", "titles", "scores")}
    parts = [answered.assign(reason="", detail=""), result.unanswered.assign(based_on="", **empty)]
    table = pd.concat(parts).sort_values("row").assign(model_version=version)
    return pa.Table.from_pandas(table, schema=ANSWERS, preserve_index=False)


def write_part(output: Files, part: Part, answers: pa.Table, result: BatchResult) -> Counts:
    """Write a part's file, with its counts in it."""
    counts = Counts(
        users=len(answers),
        answered=len(answers) - len(result.unanswered),
        by_popularity=result.by_popularity,
        unknown_entries=result.unknown_entries,
        reasons=result.reasons,
    )
    metadata = {COUNTS: json.dumps(asdict(counts)).encode()}
    sink = pa.BufferOutputStream()
    parquet.write_table(answers.replace_schema_metadata(metadata), sink)
    output.write(part_name(part.number), sink.getvalue().to_pybytes())
    return counts


def read_counts(output: Files, number: int) -> Counts:
    """Those of a part that is there."""
    with output.opened(output.path(part_name(number))) as table:
        return Counts(**json.loads(table.schema_arrow.metadata[COUNTS]))


def part_name(number: int) -> str:
    """Of a part's file."""
    return f"part-{number:06d}.parquet"


def finished_parts(output: Files, record: dict[str, Any]) -> set[int]:
    """The parts of this batch that `output` has already; a new batch leaves its record there.

    Raises:
        RereError: something else is there.
    """
    names = output.names()
    if (written := output.read(RECORD)) is None:
        if names:
            raise RereError(
                f"an empty or new directory at {output.place}", f"{sorted(names)[:3]}", "name another `output`"
            )
        output.write(RECORD, json.dumps(record, indent=1).encode())
        return set()
    there = json.loads(written)
    if there != record:
        other = [name for name in record if there.get(name) != record[name]]
        raise RereError(
            f"the same batch as before in {output.place}, to go on with it",
            f"another: {', '.join(other)} changed",
            "name another `output`, or delete that one",
        )
    return {int(name[5:11]) for name in names if name.startswith("part-") and name.endswith(".parquet")}
