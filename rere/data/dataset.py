"""The tables that travel between stages, with their columns named once.

An item's identity is its id, never its title. Order within a user is the order of the rows of
`interactions`, which ingest sorts once, stably, by time (file order breaks ties).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.artifacts.manifest import seal, verify
from rere.data.files import read_arrow, write_arrow
from rere.data.hashing import row_sums, sum_of_numbered
from rere.data.histories import Histories
from rere.data.origin import Origin, Segment

Period = Literal["train", "valid", "test"]
PERIODS: tuple[Period, ...] = ("train", "valid", "test")

# Among `IngestReport.dropped`: rows that an earlier model learned from, so that none may go on from it.
FORGOTTEN = "interactions of the base that the source no longer has, forgotten"


class IngestReport(BaseModel):
    """What was read, what was dropped and why: every row is accounted for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    source_sha256: dict[str, str]  # file name -> SHA-256
    split: str = ""  # the rule that assigned the periods
    read: dict[str, int]  # interactions, users, items as read
    times_read: tuple[int, int] | None = None  # earliest and latest of all rows read, those dropped too (seconds)
    dropped: dict[str, int]  # reason -> interactions (or items, as the reason says)
    noticed: dict[str, int] = {}  # what was changed or ambiguous but not dropped, counted
    kept: dict[str, int]  # interactions, users, items, and interactions per period

    def lines(self) -> list[str]:
        """For the terminal: what stayed of what was read, what went and why, what was noticed."""
        stayed = ", ".join(f"{self.kept.get(what, 0):,} of {read:,} {what}" for what, read in self.read.items())
        periods = ", ".join(f"{self.kept.get(period, 0):,} {period}" for period in PERIODS)
        return [
            f"Ingest of {self.source}",
            f"  kept       {stayed}; interactions by period: {periods}",
            *(f"  dropped    {count:,} {reason}" for reason, count in self.dropped.items()),
            *(f"  noticed    {count:,} {what}" for what, count in self.noticed.items()),
        ]


@dataclass(frozen=True)
class Dataset:
    """Interactions with their period, and the catalogue.

    interactions: user_id str, item_id str, timestamp int64 (seconds since 1970), period str (train/valid/test);
        ingest makes the text columns categories, plain text serves as well
    items: item_id str, title str; one row per item, in a stable order: row number = item index everywhere. Then the
        columns that the source's `item_columns` names: text, or float64 with NaN for what is missing
    windows: only from sources that bring their own windows, else None; columns as in `Windows`
    origins: table ("interactions", "items", "windows") -> where its rows come from, where the source can say so
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    report: IngestReport
    windows: pd.DataFrame | None = None
    origins: dict[str, Origin] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Write Arrow (the interactions), Parquet and JSON files and seal them."""
        directory.mkdir(parents=True, exist_ok=True)
        write_arrow(self.interactions, directory / "interactions.arrow")
        self.items.to_parquet(directory / "items.parquet", index=False)
        if self.windows is not None:
            self.windows.to_parquet(directory / "windows.parquet", index=False)
        (directory / "report.json").write_text(self.report.model_dump_json(indent=1), encoding="utf-8")
        segments = {name: [*origin.segments] for name, origin in self.origins.items()}
        (directory / "origins.json").write_text(json.dumps(segments, indent=1) + "\n", encoding="utf-8")
        for name, origin in self.origins.items():
            np.save(directory / f"origin_{name}.npy", origin.positions, allow_pickle=False)
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> Dataset:
        """Read what `save` wrote, the interactions by memory map; RereError when half-written or altered."""
        verify(directory)
        own_windows = directory / "windows.parquet"
        written = directory / "origins.json"  # earlier versions wrote none
        segments = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
        origins = {}
        for name, parts in segments.items():
            positions = np.load(directory / f"origin_{name}.npy", mmap_mode="r", allow_pickle=False)
            origins[name] = Origin(positions, [Segment(*part) for part in parts])
        return cls(
            interactions=read_arrow(directory / "interactions.arrow"),
            items=pd.read_parquet(directory / "items.parquet"),
            report=IngestReport.model_validate_json((directory / "report.json").read_text(encoding="utf-8")),
            windows=pd.read_parquet(own_windows) if own_windows.exists() else None,
            origins=origins,
        )


@dataclass(frozen=True)
class Windows:
    """One row a prediction: a history and the item that came next; the target travels with its row.

    table: row_id int64 (unique), user_id str, history list[str] (item ids, oldest first, at least one; a column of
        views, see `Histories`, or of lists),
        target str (item id), timestamp int64 (of the target), period str,
        warm bool (the target occurs in the training period)
    """

    table: pd.DataFrame
    history_items: int

    def of(self, period: Period) -> pd.DataFrame:
        """The rows of one period, index reset."""
        return self.table[self.table["period"] == period].reset_index(drop=True)

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_arrow(self.table.assign(history=Histories.of(self.table["history"])), directory / "windows.arrow")
        (directory / "history_items.txt").write_text(f"{self.history_items}\n", encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> Windows:
        """Read what `save` wrote by memory map; RereError when half-written or altered."""
        verify(directory)
        return cls(
            table=read_arrow(directory / "windows.arrow"),
            history_items=int((directory / "history_items.txt").read_text(encoding="utf-8")),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the rows' content (the data's name in every lineage record)."""
        histories = Histories.of(self.table["history"])
        return sum_of_numbered(row_sums(self.table.assign(history=histories)))
