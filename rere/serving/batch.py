"""Recommendations for a whole table of users, by the same search as the service's.

Every user gets a list, or stands among the unanswered with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rere.errors import RereError
from rere.recommenders.labels import Label
from rere.runtime.progress import progress
from rere.serving.config import BatchConfig
from rere.serving.engine.deployment import Deployment, Query, Ranked
from rere.serving.file_store import beside
from rere.serving.item_resolver import Resolved

NO_KNOWN_ITEM, TOO_LONG, NOTHING_LEFT = "no known item", "history too long for the model", "no item left to recommend"


@dataclass(frozen=True)
class BatchResult:
    """What became of a table of users.

    recommendations: user_id, rank (from 1), item_id, title, score (nats), model_version, unknown (entries of the user's
        history that name no item), based_on (history or popularity): one row per recommendation, users in their order
    unanswered: row, user_id, reason, detail, unknown: one row per user without any
    unknown_entries: entries of all histories that name no item
    """

    recommendations: pd.DataFrame
    unanswered: pd.DataFrame
    unknown_entries: int

    @property
    def by_popularity(self) -> int:
        """Users of whom nothing is known, and who got what is popular."""
        return int(((self.recommendations["based_on"] == Label.POPULARITY) & (self.recommendations["rank"] == 1)).sum())

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> users without recommendations."""
        return {str(reason): int(count) for reason, count in self.unanswered["reason"].value_counts().items()}

    def require_rows(self) -> None:
        """RereError where nobody got a recommendation, or where histories have entries of which none is known."""
        by_history = (self.recommendations["based_on"] == "history").any()
        if len(self.recommendations) and (by_history or not self.unknown_entries):
            return
        if len(self.recommendations):
            raise no_known_item(self.unknown_entries, f", such as {self.recommendations['unknown'].iloc[0]}")
        first = self.unanswered.iloc[0] if len(self.unanswered) else None
        example = "" if first is None else f"; row {first['row']}: {first['reason']}. {first['detail']}"
        raise nobody_answered(self.reasons, example)


def no_known_item(unknown_entries: int, example: str = "") -> RereError:
    """Histories have entries, and none of them names an item."""
    return RereError(
        "at least one history that names a known item",
        f"none; {unknown_entries} entries name no item{example}",
        "check that histories name items as the training data do, by id or exact title",
    )


def nobody_answered(reasons: Mapping[str, int], example: str = "") -> RereError:
    """Nobody got a recommendation, by reason."""
    counted = ", ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "no users"
    return RereError(
        "at least one user who gets recommendations",
        f"none of {sum(reasons.values())} ({counted}{example})",
        "check that histories name items as the training data do, by id or exact title",
    )


def recommend_users(deployment: Deployment, users: pd.DataFrame, config: BatchConfig) -> BatchResult:
    """Rank for every user of `read_users`."""
    queries: dict[int, Query] = {}
    resolved: list[Resolved] = []
    problems: dict[int, tuple[str, str]] = {}
    columns = zip(users["history"], users["problem"], users["detail"], strict=True)
    for row, (history, problem, detail) in enumerate(columns):
        read = deployment.snapshot.lookup.resolve(history)
        resolved.append(read)
        if problem:
            problems[row] = (problem, detail)
            continue
        try:
            deployment.require_answerable(read)
        except RereError as error:
            problems[row] = (NO_KNOWN_ITEM, str(error))
            continue
        barred = frozenset(read.items) if config.seen == "exclude" else frozenset()
        query = deployment.query(read.items, config.k, barred)
        try:
            deployment.require_room(query.history)
        except RereError as error:
            problems[row] = (TOO_LONG, str(error))
            continue
        queries[row] = query
    ranked = _ranked(deployment, queries, config.batch_users)
    for row in [row for row, found in ranked.items() if not found.items]:
        problems[row] = (NOTHING_LEFT, "all items are in the history or removed")
    unknown = [[entry for entry, _ in read.unknown] for read in resolved]
    return BatchResult(
        recommendations=_recommendations(deployment, users, ranked, unknown),
        unanswered=_unanswered(users, problems, unknown),
        unknown_entries=sum(map(len, unknown)),
    )


def _ranked(deployment: Deployment, queries: dict[int, Query], batch_users: int) -> dict[int, Ranked]:
    """Users who ask the same get one search; prompts of like length share a batch."""
    snapshot = deployment.snapshot
    order = sorted(dict.fromkeys(queries.values()), key=lambda query: snapshot.prompt_tokens(query.history))
    ranked: dict[Query, Ranked] = {}
    starts = range(0, len(order), batch_users)
    for start in progress(starts, desc="users", unit="batch", leave=False, disable=len(starts) < 4):
        own = order[start : start + batch_users]
        found = deployment.rank(own)
        assert found is not None  # nothing asks to give up
        ranked.update(zip(own, found, strict=True))
    return {row: ranked[query] for row, query in queries.items()}


def _recommendations(
    deployment: Deployment, users: pd.DataFrame, ranked: dict[int, Ranked], unknown: list[list[str]]
) -> pd.DataFrame:
    rows = sorted(ranked)
    counts = [len(ranked[row].items) for row in rows]
    owners = np.repeat(np.array(rows, dtype=np.int64), counts)
    items = np.array([item for row in rows for item in ranked[row].items], dtype=np.int64)
    catalog = deployment.snapshot.catalog.items
    return pd.DataFrame(
        {
            "user_id": users["user_id"].to_numpy(dtype=object)[owners],
            "rank": np.array([rank for count in counts for rank in range(1, count + 1)], dtype=np.int64),
            "item_id": catalog["item_id"].to_numpy()[items],
            "title": catalog["title"].to_numpy()[items],
            "score": np.array([score for row in rows for score in ranked[row].scores], dtype=np.float32),
            "model_version": deployment.version,
            "unknown": pd.Series([unknown[owner] for owner in owners], dtype=object),
            "based_on": pd.Series([ranked[owner].based_on for owner in owners.tolist()], dtype=object),
        }
    )


def _unanswered(users: pd.DataFrame, problems: dict[int, tuple[str, str]], unknown: list[list[str]]) -> pd.DataFrame:
    rows = sorted(problems)
    table = users.iloc[rows][["row", "user_id"]].reset_index(drop=True)
    return table.assign(
        reason=pd.Series([problems[row][0] for row in rows], dtype=object),
        detail=pd.Series([problems[row][1] for row in rows], dtype=object),
        unknown=pd.Series([unknown[row] for row in rows], dtype=object),
    )


def unanswered_path(output: Path) -> Path:
    """Where the users without recommendations are written, beside the recommendations."""
    return output.with_name(f"{output.stem}.unanswered{output.suffix}")


def require_writable(path: Path) -> None:
    """RereError unless a file can be put at `path`; asked before the work that fills it."""
    if path.is_dir():
        raise RereError("a file's name in `output`", f"the directory {path}", "name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = beside(path)
        scratch.write_bytes(b"")
        scratch.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write to `path`, whole or not at all; RereError where it can't be written."""
    scratch = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(scratch, index=False)
        scratch.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def _unwritable(path: Path, error: OSError) -> RereError:
    return RereError(f"room and permission to write {path}", str(error), "make some, or correct `output`")
