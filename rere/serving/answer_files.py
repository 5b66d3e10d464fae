"""Answers to users as Parquet files, one per part of a batch.

A file has one row per user of its part. It appears whole or not at all, so what is there is finished: a run that ended
early goes on with the rest. Each file says in its metadata what was counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from rere.errors import RereError
from rere.serving.batch import BatchResult
from rere.serving.file_store import Files
from rere.serving.live_catalog import CatalogEdits
from rere.serving.user_files import Part

RECORD = "_batch.json"  # readers of Parquet directories pass over names with _
PART = re.compile(r"part-(\d{6,})\.parquet")  # see `part_name`
COUNTS = b"rere.counts"  # in a file's metadata
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


@dataclass(frozen=True)
class Counts:
    """What became of users. reasons: why there was no answer -> users."""

    users: int
    answered: int
    by_popularity: int
    unknown_entries: int
    reasons: dict[str, int]

    @classmethod
    def of(cls, users: int, result: BatchResult) -> Counts:
        """Of so many users who were asked for."""
        return cls(
            users=users,
            answered=users - len(result.unanswered),
            by_popularity=result.by_popularity,
            unknown_entries=result.unknown_entries,
            reasons=result.reasons,
        )

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

    def told(self, edits: CatalogEdits) -> str:
        """In words, with the changes of the catalogue that were observed."""
        return (
            f"{self.answered} of {self.users} users get recommendations, {self.by_popularity} of them by popularity, "
            f"for nothing is known of them. {self.unknown_entries} entries of histories name no item, and were left "
            f"out; {len(edits.removed)} items are removed, {len(edits.added)} added."
        )

    def metadata(self) -> dict[str, Any]:
        """As a run's metadata name them."""
        return {
            "users": self.users,
            "users_answered": self.answered,
            "users_by_popularity": self.by_popularity,
            "users_unanswered": self.reasons,
            "unknown_entries": self.unknown_entries,
        }


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
    counts = Counts.of(len(answers), result)
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
                f"an empty or new directory at {output.location}", f"{sorted(names)[:3]}", "name another `output`"
            )
        output.write(RECORD, json.dumps(record, indent=1).encode())
        return set()
    there = json.loads(written)
    if there != record:
        other = [name for name in record if there.get(name) != record[name]]
        raise RereError(
            f"the same batch as before in {output.location}, to go on with it",
            f"another: {', '.join(other)} changed",
            "name another `output`, or delete that one",
        )
    return {int(found[1]) for name in names if (found := PART.fullmatch(name))}
