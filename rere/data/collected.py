"""The rows that a retraining learns from: those of the model before, and what the source has gained since.

New rows: later than the base's newest row, or of the same second and absent from the base. Rows that are older and
absent from the base came late: they are left out and counted. `base: none` reads the whole source again, late rows
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.artifacts.manifest import seal, verify
from rere.data.codes import category
from rere.data.dataset import FORGOTTEN
from rere.data.files import read_arrow, write_arrow
from rere.data.raw import RawData
from rere.errors import RereError

KEYS = ["user_id", "item_id", "timestamp"]
LATE = "interactions that came late (not newer than the base's newest)"
GONE = "interactions of the base that the source no longer has, kept"


class CollectionReport(BaseModel):
    """Where the rows came from, counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    source_sha256: dict[str, str]
    base: int  # interactions
    new: int
    newest: int  # seconds since 1970, of all rows
    dropped: dict[str, int]
    noticed: dict[str, int]


@dataclass(frozen=True)
class Collected:
    """interactions and items as in `RawData`, the base's first."""

    interactions: pd.DataFrame
    items: pd.DataFrame
    report: CollectionReport

    def raw(self) -> RawData:
        """As a source hands it to ingest."""
        report = self.report
        noticed = report.noticed | {"interactions new since the base": report.new}
        return RawData(
            name=report.source,
            interactions=self.interactions,
            items=self.items,
            sha256=report.source_sha256,
            dropped=dict(report.dropped),
            noticed=noticed,
        )

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_arrow(self.interactions, directory / "interactions.arrow")
        self.items.to_parquet(directory / "items.parquet", index=False)
        (directory / "report.json").write_text(self.report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> Collected:
        """Read what `save` wrote; RereError when half-written or altered."""
        verify(directory)
        return cls(
            interactions=read_arrow(directory / "interactions.arrow"),
            items=pd.read_parquet(directory / "items.parquet"),
            report=CollectionReport.model_validate_json((directory / "report.json").read_text(encoding="utf-8")),
        )


def collect(raw: RawData, base: Collected | None = None, deleted: Literal["keep", "forget"] = "keep") -> Collected:
    """The base's rows and the source's new ones; all of the source where there is no base.

    Titles and further columns are the source's of today; an item that only the base knows keeps its own.

    Args:
        deleted: what becomes of the base's rows that the source no longer has.

    Raises:
        RereError: a source that brings its own split, or none of whose rows carry a time.
    """
    times = raw.interactions["timestamp"]
    if raw.windows is not None or not len(times) or times.max() <= 0:
        raise RereError(
            "a source of interactions with times, so that new ones can be recognised",
            f"{raw.name}: {'windows already split' if raw.windows is not None else 'no times'}",
            "retrain by `zenml pipeline run rere_pipeline` on the new files",
        )
    if base is None:
        rows, items, late, gone, changed, kept = raw.interactions, raw.items, 0, 0, 0, 0
    else:
        known = raw.interactions.merge(base.interactions[KEYS].drop_duplicates(), how="left", on=KEYS, indicator=True)
        is_known = (known["_merge"] == "both").to_numpy()
        fresh = ~is_known & (times.to_numpy() >= base.report.newest)
        late = int((~is_known & ~fresh).sum())
        shared = known.loc[is_known, KEYS].drop_duplicates()
        old = base.interactions
        gone = len(old[KEYS].drop_duplicates()) - len(shared)
        if gone and deleted == "forget":
            still = old[KEYS].astype({"user_id": "str", "item_id": "str"})
            there = shared.astype({"user_id": "str", "item_id": "str"})
            old = old[(still.merge(there, how="left", on=KEYS, indicator=True)["_merge"] == "both").to_numpy()]
        kept = len(old)
        rows = _appended(old, raw.interactions[fresh])
        items, changed = _catalogue(base.items, raw.items)
    dropped, noticed = raw.dropped | {LATE: late}, raw.noticed | {"titles that changed since the base": changed}
    report = CollectionReport(
        source=raw.name,
        source_sha256=raw.sha256,
        base=kept,
        new=len(rows) - kept,
        newest=int(rows["timestamp"].max()) if len(rows) else int(times.max()),
        dropped=dropped | ({FORGOTTEN: gone} if deleted == "forget" else {}),
        noticed=noticed | ({GONE: gone} if deleted == "keep" else {}),
    )
    return Collected(rows, items, report)


def _appended(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([frame.astype({"user_id": "str", "item_id": "str"})[KEYS] for frame in (old, new)])
    text = {name: category(both[name]).array for name in ("user_id", "item_id")}
    return pd.DataFrame({**text, "timestamp": both["timestamp"].to_numpy(dtype=np.int64)})


def _catalogue(old: pd.DataFrame, new: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The base's items in their order, then the new ones; and how many titles changed.

    Items whose id the source repeats stay repeated: validation refuses them.
    """
    old = old.reset_index(drop=True)
    known = old["item_id"].isin(new["item_id"])
    today = new.drop_duplicates("item_id").set_index("item_id", drop=False)
    today = today.loc[old.loc[known, "item_id"]].set_axis(old.index[known])
    kept = pd.concat([today, old[~known].reindex(columns=new.columns)]).sort_index()
    changed = int((kept["title"] != old["title"]).sum())
    fresh = new[~new["item_id"].isin(old["item_id"]) | new["item_id"].duplicated()]
    return pd.concat([kept, fresh], ignore_index=True).astype(new.dtypes.to_dict()), changed
