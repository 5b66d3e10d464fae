"""Small tables, written as users would bring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rere.data.dataset import Dataset, IngestReport
from rere.data.sources.tables import Tables

START = 1_000_000_000  # 2001-09-09 01:46:40
DAY = 86_400
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def write_tables(folder: Path, interactions: str, items: str) -> Tables:
    """Two CSV files, their headers included in the text."""
    (folder / "interactions.csv").write_text(interactions, encoding="utf-8")
    (folder / "items.csv").write_text(items, encoding="utf-8")
    return Tables(interactions=folder / "interactions.csv", items=folder / "items.csv")


def write_events(folder: Path, events: list[tuple[str, str, int]], items: dict[str, str]) -> Tables:
    """(user, item, seconds after START) and item -> title."""
    rows = "".join(f"{user},{item},{START + time}\n" for user, item, time in events)
    titles = "".join(f"{item},{title}\n" for item, title in items.items())
    return write_tables(folder, "user_id,item_id,timestamp\n" + rows, "item_id,title\n" + titles)


def random_dataset(seed: int, users: int = 30, items: int = 12) -> Dataset:
    """A valid data set: each user's last interaction is test, the one before it validation."""
    random, rows = np.random.default_rng(seed), []
    for user in range(users):
        length = int(random.integers(1, 9))
        for position, item in enumerate(random.permutation(items)[:length]):
            from_end = length - 1 - position
            period = {0: "test", 1: "valid"}.get(from_end, "train") if length >= 3 else "train"
            rows.append((f"u{user}", f"i{item}", START + 100 * user + position, period))
    return dataset_of(rows, {f"i{n}": f"Title {n}" for n in range(items)})


def dataset_of(rows: list[tuple[str, str, int, str]], titles: dict[str, str], split: str = "leave_one_out") -> Dataset:
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "period"])
    return Dataset(
        interactions=interactions.astype({"user_id": "str", "item_id": "str", "period": "str"}),
        items=pd.DataFrame({"item_id": list(titles), "title": list(titles.values())}, dtype="str"),
        report=IngestReport(source="test", source_sha256={"file": "0" * 64}, split=split, read={}, dropped={}, kept={}),
    )
