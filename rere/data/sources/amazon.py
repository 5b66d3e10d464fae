"""Source: raw Amazon review dumps of 2014, 2018 and 2023, one JSON object (or Python literal) per line.

Lines are streamed: only ids, times and the titles of reviewed items are kept.
"""

from __future__ import annotations

import ast
import gzip
import html
import json
import re
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
import pandas as pd
from pydantic import Field

from rere.config.base import ISODate
from rere.config.data import Place
from rere.data.columns import require_file
from rere.data.raw import SECOND, RawData, interactions_frame, items_frame
from rere.data.remote import here, sums_of
from rere.data.sources.base import Source
from rere.data.times import iso_seconds
from rere.errors import RereError

MALFORMED_SHARE = 0.01
HALF = re.compile("[\ud800-\udfff]")  # JSON can spell half a character; no file or table can hold it
LATEST = 1 << 62  # microseconds; further from 1970, no time is meant
# user, item, time, and microseconds per unit of that time: 2023, then 2014 and 2018
KEYS = (("user_id", "parent_asin", "timestamp", 1_000), ("reviewerID", "asin", "unixReviewTime", SECOND))


@dataclass
class Lines:
    """A file's objects, one per line; malformed lines are counted, and too many are an error."""

    path: Path
    role: str
    read: int = 0
    malformed: int = 0
    example: str = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(require_file(self.path, self.role), "rt", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.strip():
                        self.read += 1
                        content = parse_line(line)
                        if content is None:
                            self.reject(line)
                        else:
                            yield content
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RereError(f"a whole gzip file at {self.path}", str(error), "download it again") from error
        if not self.read:
            raise RereError(f"{self.role} in {self.path}", "an empty file", "download it again")
        if self.malformed > MALFORMED_SHARE * self.read:
            raise RereError(
                f"at most {MALFORMED_SHARE:.0%} malformed lines in {self.path}",
                f"{self.malformed} of {self.read}, such as {self.example!r}",
                "download the file again, or check that it is an Amazon dump of 2014, 2018 or 2023",
            )

    def reject(self, content: object) -> None:
        self.example = self.example or str(content).strip()[:200]
        self.malformed += 1


@dataclass
class Codes:
    """Names to consecutive numbers, so that a review takes 24 bytes."""

    numbers: dict[str, int] = field(default_factory=dict)
    column: array[int] = field(default_factory=lambda: array("q"))

    def add(self, name: str) -> None:
        self.column.append(self.numbers.setdefault(name, len(self.numbers)))

    def names(self) -> pd.Series:
        names = pd.Index(list(self.numbers), dtype="str")
        return pd.Series(pd.Categorical.from_codes(np.asarray(self.column, dtype=np.int32), names))


class AmazonReviews(Source):
    """Raw Amazon dumps (2014, 2018, 2023): one JSON object or Python literal per line, optionally .gz."""

    type: Literal["amazon_reviews"] = "amazon_reviews"
    reviews: Place
    metadata: Place
    since: ISODate | None = Field(default=None, description="ISO date, inclusive")
    until: ISODate | None = Field(default=None, description="ISO date, exclusive")

    def files(self) -> list[Path]:
        """The files that the source reads: reviews, then metadata."""
        return [here(self.reviews), here(self.metadata)]

    def load(self) -> RawData:
        """Stream the reviews, then the titles of the reviewed items.

        A review of an item without a title is dropped, and counted.

        Raises:
            RereError: missing, damaged or foreign files; more than 1 % malformed lines.
        """
        files = self.files()
        users, items, times = Codes(), Codes(), array("q")
        since = iso_seconds(self.since, "since") * SECOND if self.since else None
        until = iso_seconds(self.until, "until") * SECOND if self.until else None
        reviews, outside = Lines(files[0], "reviews"), 0
        for content in reviews:
            review = parse_review(content)
            if review is None:
                reviews.reject(content)
            elif (since is not None and review[2] < since) or (until is not None and review[2] >= until):
                outside += 1
            else:
                users.add(review[0])
                items.add(review[1])
                times.append(review[2])

        metadata, titles = Lines(files[1], "metadata"), {}
        unreviewed = repeated = halves = 0
        for content in metadata:
            item, title = content.get("parent_asin") or content.get("asin"), content.get("title")
            if not is_id(item):
                metadata.reject(content)
            elif item not in items.numbers:
                unreviewed += 1
            elif item in titles:
                repeated += 1
            elif isinstance(title, str) and title.strip():
                halves += (readable := HALF.sub("", title)) != title
                titles[item] = html.unescape(readable)  # the dumps carry &amp; and the like

        interactions = interactions_frame(users.names(), items.names(), np.asarray(times))
        titled = interactions["item_id"].isin(titles)
        catalogue, _ = items_frame(pd.Series(titles.keys(), dtype="str"), pd.Series(titles.values(), dtype="str"))
        return RawData(
            name=f"Amazon reviews {files[0].name}",
            interactions=interactions[titled].reset_index(drop=True),
            items=catalogue,
            sha256=sums_of(files),
            dropped={
                "malformed review lines": reviews.malformed,
                "malformed metadata lines": metadata.malformed,
                "reviews outside since/until": outside,
                "reviews of items without a title": int((~titled).sum()),
                "metadata of items without a review": unreviewed,
                "repeated metadata lines (the first is kept)": repeated,
            },
            noticed={"titles with halves of characters (lone surrogates) removed": halves},
        )


def parse_line(line: str) -> dict[str, Any] | None:
    """A line's object: JSON, else a Python literal (the 2014 metadata); None when it is neither."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        try:
            content = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return content if isinstance(content, dict) else None


def is_id(value: object) -> TypeGuard[str]:
    """Text that isn't empty, and that can be written."""
    return isinstance(value, str) and bool(value) and not HALF.search(value)


def parse_review(content: dict[str, Any]) -> tuple[str, str, int] | None:
    """(user, item, microseconds since 1970), or None when a key is missing or of a wrong type."""
    for user_key, item_key, time_key, unit in KEYS:
        user, item, time = content.get(user_key), content.get(item_key), content.get(time_key)
        if is_id(user) and is_id(item) and type(time) is int:
            return (user, item, time * unit) if abs(time * unit) < LATEST else None
    return None
