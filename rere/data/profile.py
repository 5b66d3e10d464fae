"""What a data set looks like, small enough to keep, and how far the next one has moved from it.

Drift is the population stability index over fixed buckets, sum of (p - q) ln(p / q) (Siddiqi, Credit Risk
Scorecards, 2006); 0.1 is commonly read as a small shift, 0.2 as one to look into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.data.codes import coded
from rere.data.dataset import PERIODS, Dataset
from rere.data.hashing import row_sums

POPULAR_ITEMS = 10_000  # items whose counts are kept; the rest of a larger catalogue is left out
POPULARITY_GROUPS = 10
PSEUDO_COUNT = 0.5  # added to each bucket, so that an empty one doesn't make the index infinite
ACTIVITY_EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 200)  # interactions per user, from
HISTORY_EDGES = (1, 2, 3, 5, 10, 20, 50)  # interactions before a target, from
TITLE_EDGES = (0, 10, 20, 30, 40, 60, 80, 120, 200)  # characters, from


class Profile(BaseModel):
    """Counts, time range and distributions of one data set."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # earlier versions kept more

    fingerprint: str  # SHA-256 over interactions, periods and titles
    interactions: int
    users: int
    items: int
    first: int  # seconds since 1970
    last: int
    item_popularity: dict[str, int]  # item id -> interactions, most popular first
    periods: dict[str, int]  # interactions per period
    user_activity: dict[str, int]  # "from n" -> users
    history_length: dict[str, int]  # "from n" -> targets
    title_length: dict[str, int]  # "from n" -> items
    means: dict[str, float]  # of the three above


def make_profile(dataset: Dataset) -> Profile:
    """Measure a data set."""
    events, items = dataset.interactions, dataset.items
    users = pd.factorize(coded(events["user_id"])[0])[0]
    activity = np.bincount(users)
    before = events.groupby(users).cumcount().to_numpy()
    measured = {
        "user_activity": (activity, ACTIVITY_EDGES),
        "history_length": (before[before > 0], HISTORY_EDGES),
        "title_length": (items["title"].fillna("").str.len().to_numpy(), TITLE_EDGES),
    }
    item, names = coded(events["item_id"])
    taken = pd.unique(item[item >= 0])  # in order of first appearance, which decides between equals
    counts = np.bincount(item[item >= 0], minlength=len(names))[taken]
    order = np.argsort(-counts, kind="stable")[:POPULAR_ITEMS]
    periods = events["period"].value_counts()
    return Profile(
        fingerprint=content_fingerprint(dataset),
        interactions=len(events),
        users=len(activity),
        items=len(items),
        first=int(events["timestamp"].min()),
        last=int(events["timestamp"].max()),
        item_popularity={str(names[taken[n]]): int(counts[n]) for n in order.tolist()},
        periods={period: int(periods.get(period, 0)) for period in PERIODS},
        means={name: float(values.mean()) if len(values) else 0.0 for name, (values, _) in measured.items()},
        **{name: _buckets(values, edges) for name, (values, edges) in measured.items()},
    )


def content_fingerprint(dataset: Dataset) -> str:
    """SHA-256 over the interactions and the catalogue, rows in order."""
    digest = hashlib.sha256()
    for table in (dataset.interactions, dataset.items):
        digest.update(row_sums(table).tobytes())
    return digest.hexdigest()


def drift(previous: Profile, current: Profile) -> pd.DataFrame:
    """metric, previous, current, psi; psi is NaN for plain counts.

    Item popularity compares the shared items only, in ten groups of about equal share in the previous data set:
    single items are too rare for a stable index.
    """
    shared = [item for item in previous.item_popularity if item in current.item_popularity]
    old = np.array([previous.item_popularity[item] for item in shared], dtype=float)
    new = np.array([current.item_popularity[item] for item in shared], dtype=float)
    group = np.minimum((old.cumsum() - old) / max(old.sum(), 1) * POPULARITY_GROUPS, POPULARITY_GROUPS - 1).astype(int)
    rows: list[tuple[str, float, float, float]] = [
        (name, getattr(previous, name), getattr(current, name), np.nan) for name in ("interactions", "users", "items")
    ]
    rows += [
        (
            "item popularity (share of interactions on shared items)",
            old.sum() / previous.interactions,
            new.sum() / current.interactions,
            stability_index(np.bincount(group, old), np.bincount(group, new)),
        ),
        (
            "periods (training share)",
            previous.periods["train"] / previous.interactions,
            current.periods["train"] / current.interactions,
            _compare(previous.periods, current.periods),
        ),
    ]
    for name in ("user_activity", "history_length", "title_length"):
        index = _compare(getattr(previous, name), getattr(current, name))
        rows.append((f"{name.replace('_', ' ')} (mean)", previous.means[name], current.means[name], index))
    return pd.DataFrame(rows, columns=["metric", "previous", "current", "psi"])


def stability_index(previous: np.ndarray, current: np.ndarray) -> float:
    """Population stability index of two count vectors over the same buckets; 0 when there are no buckets."""
    p, q = previous + PSEUDO_COUNT, current + PSEUDO_COUNT
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _compare(previous: Mapping[str, int], current: Mapping[str, int]) -> float:
    names = list(dict.fromkeys([*previous, *current]))
    return stability_index(
        np.array([previous.get(name, 0) for name in names]), np.array([current.get(name, 0) for name in names])
    )


def _buckets(values: np.ndarray, edges: tuple[int, ...]) -> dict[str, int]:
    buckets = np.searchsorted(edges, values, side="right") - 1
    counts = np.bincount(buckets.clip(min=0), minlength=len(edges))
    return {f"from {edge}": int(count) for edge, count in zip(edges, counts, strict=True)}
