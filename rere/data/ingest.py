"""Source -> data set: normalise titles, order by time, assign periods, filter on the training period, report.

What leaves the catalogue: an item that the k-core drops; with `unseen: drop`, also every item that never occurs
in the training period. With `unseen: keep`, items that no one has interacted with stay, and can be recommended.
Blank titles and interactions with unknown items stay too: validation refuses them and names their rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rere.config.data import IngestConfig, LeaveOneOut
from rere.data.codes import category, repeated, shared_codes
from rere.data.dataset import PERIODS, Dataset, IngestReport
from rere.data.k_core import k_core
from rere.data.periods import TRAIN, assign_periods
from rere.data.raw import RawData
from rere.data.sources import load_source
from rere.data.titles import normalise_titles
from rere.errors import RereError


def ingest(config: IngestConfig) -> Dataset:
    """Read a source into interactions with periods, and a catalogue.

    Raises:
        RereError: what the source can't vouch for; no training interactions left after filtering.
    """
    return ingest_raw(load_source(config.source), config)


def ingest_raw(raw: RawData, config: IngestConfig) -> Dataset:
    """`ingest` of rows that were read before; `config.source` isn't asked."""
    titles, changed = normalise_titles(raw.items["title"], config.title_characters)
    items = raw.items.assign(title=titles)
    noticed = raw.noticed | changed
    if raw.windows is not None:
        return _own_windows(raw, items, noticed)

    codes, _ = pd.factorize(raw.interactions["user_id"])
    order = np.lexsort((raw.interactions["timestamp"].to_numpy(), codes))  # stable: file order breaks ties
    events = raw.interactions.iloc[order].assign(order=order).reset_index(drop=True)
    again = repeated(events, ["user_id", "item_id", "timestamp"])
    events = events[~again].reset_index(drop=True)
    dropped = raw.dropped | {"interactions repeated exactly (user, item, time)": int(again.sum())}

    users, _ = pd.factorize(events["user_id"])
    period = assign_periods(users, events["timestamp"].to_numpy(), events["order"].to_numpy(), config.split)
    if isinstance(config.split, LeaveOneOut):
        noticed["users of fewer than three interactions, all training"] = int((np.bincount(users) < 3).sum())
    events["period"] = pd.Categorical.from_codes(period, pd.Index(PERIODS, dtype="str"))

    kept, stays, filtered = _filter(events, items, users, period == TRAIN, config)
    dropped |= filtered
    return _finish(raw, events[kept], items[stays], dropped, noticed, config.split.type)


def _filter(
    events: pd.DataFrame, items: pd.DataFrame, users: np.ndarray, training: np.ndarray, config: IngestConfig
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """(interactions,) bool and (items,) bool that stay, and what went, by reason."""
    (catalogue, item), names = shared_codes(items["item_id"], events["item_id"])
    core_users, core_items = k_core(users, item, training, config.k_core)
    core_items = np.pad(core_items, (0, len(names) - len(core_items)), constant_values=True)
    in_core = core_users[users] & core_items[item]
    reasons = {
        f"users below the {config.k_core}-core": int((~core_users).sum()),
        f"items below the {config.k_core}-core": int((~core_items[catalogue]).sum()),
        f"interactions below the {config.k_core}-core": int((~in_core).sum()),
    }
    if config.unseen == "keep":
        return in_core, core_items[catalogue], reasons
    seen_users = np.bincount(users[training], minlength=len(core_users)) > 0
    seen_items = np.bincount(item[training], minlength=len(core_items)) > 0
    kept = in_core & seen_users[users] & seen_items[item]
    reasons |= {
        "users never seen in training": int((~seen_users).sum()),
        "items never seen in training": int((~seen_items[catalogue]).sum()),
        "interactions of users or items never seen in training": int(in_core.sum() - kept.sum()),
    }
    return kept, (core_items & seen_items)[catalogue], reasons


def _own_windows(raw: RawData, items: pd.DataFrame, noticed: dict[str, int]) -> Dataset:
    """Window files come filtered and split: their rows are taken as they are."""
    assert raw.windows is not None
    assert raw.periods is not None
    events = raw.interactions.assign(period=category(raw.periods.astype("str")))
    trained = events.loc[events["period"] == "train", "item_id"].unique()
    windows = raw.windows.assign(warm=raw.windows["target"].isin(trained)).reset_index(drop=True)
    windows.insert(0, "row_id", np.arange(len(windows), dtype=np.int64))
    return _finish(raw, events, items, dict(raw.dropped), noticed, "the files' own, unfiltered", windows)


def _finish(
    raw: RawData,
    events: pd.DataFrame,
    items: pd.DataFrame,
    dropped: dict[str, int],
    noticed: dict[str, int],
    split: str,
    windows: pd.DataFrame | None = None,
) -> Dataset:
    periods = events["period"].value_counts()
    if not periods.get("train", 0):
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "nothing dropped"
        raise RereError(
            "training interactions after filtering",
            f"none of {len(raw.interactions)} read: {counts}",
            "lower `k_core`, or give more data",
        )
    report = IngestReport(
        source=raw.name,
        source_sha256=raw.sha256,
        split=split,
        read={
            "interactions": len(raw.interactions),
            "users": raw.interactions["user_id"].nunique(),
            "items": len(raw.items),
        },
        dropped={reason: count for reason, count in dropped.items() if count},
        noticed={what: count for what, count in noticed.items() if count},
        kept={
            "interactions": len(events),
            "users": events["user_id"].nunique(),
            "items": len(items),
            **{period: int(periods.get(period, 0)) for period in PERIODS},
        },
    )
    text = {name: category(events[name]).cat.remove_unused_categories() for name in ("user_id", "item_id")}
    events = events.assign(**text)[["user_id", "item_id", "timestamp", "period"]].reset_index(drop=True)
    return Dataset(events, items.reset_index(drop=True), report, windows)
