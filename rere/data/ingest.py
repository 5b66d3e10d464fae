"""Source -> data set: normalise titles, order by time, assign periods, filter, report.

What leaves the catalogue: an item that the k-core drops; with `unseen: drop`, also every item that never occurs
in the training period. With `unseen: keep`, items that no one has interacted with stay, and can be recommended.
Blank titles and interactions without a user or with unknown items stay, whatever a filter says: validation refuses
them and names their rows. `untitled: drop` and `orphans: drop` take them out before all else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rere.config.data import LeaveOneOut, TrainingCore
from rere.config.ingest import IngestConfig
from rere.data.blockwise import (
    in_blocks,
    kept_rows,
    looked_up,
    run_numbers,
    selected,
    taken_rows,
    tally,
    with_column,
)
from rere.data.codes import by_appearance, category, coded, repeated_in_runs, shared_codes, without_unused
from rere.data.dataset import PERIODS, Dataset, IngestReport
from rere.data.k_core import k_core
from rere.data.origin import Origin
from rere.data.periods import TRAIN, assign_periods
from rere.data.raw import RawData
from rere.data.sources.base import load_source
from rere.data.titles import normalise_titles
from rere.data.unusable import drop_unusable, is_orphan, is_untitled
from rere.errors import RereError


def ingest(config: IngestConfig) -> Dataset:
    """Read a source into interactions with periods, and a catalogue.

    Raises:
        RereError: what the source can't vouch for; no training interactions left after filtering.
    """
    return ingest_raw(load_source(config.source), config)


def ingest_raw(raw: RawData, config: IngestConfig) -> Dataset:
    """`ingest` of rows that were read before; `config.source` isn't asked."""
    titles, changed = normalise_titles(raw.items["title"], config.title_characters, config.title_entities)
    items = raw.items.assign(title=titles)
    noticed = raw.noticed | changed
    if raw.windows is not None:
        if "drop" in (config.orphans, config.untitled):
            raise RereError(
                "`orphans: refuse` and `untitled: refuse` with window files, whose rows are taken as they are",
                f"orphans: {config.orphans}, untitled: {config.untitled}",
                "remove those rows and items from the files",
            )
        return _own_windows(raw, items, noticed)

    events = _in_order(raw.interactions)
    again = repeated_in_runs(events, ["user_id", "item_id", "timestamp"])
    events = kept_rows(events, ~again)
    dropped = raw.dropped | {"interactions repeated exactly (user, item, time)": int(again.sum())}

    events, items, unusable = drop_unusable(events, items, config.orphans, config.untitled)
    dropped |= unusable
    if isinstance(config.k_core, int):
        everything = np.ones(len(events), dtype=bool)
        events, items, below = _core(events, items, everything, config.k_core, f"{config.k_core}-core")
        dropped |= below
    users = _users(events)
    period = assign_periods(users, events["timestamp"].to_numpy(), events["order"].to_numpy(), config.split)
    if isinstance(config.split, LeaveOneOut):
        noticed["users of fewer than three interactions, all training"] = int((tally(users, _count(users)) < 3).sum())
    events["period"] = pd.Categorical.from_codes(period, pd.Index(PERIODS, dtype="str"))
    if isinstance(config.k_core, TrainingCore):
        k, training = config.k_core.k, period == TRAIN
        events, items, below = _core(events, items, training, k, f"{k}-core of the training period")
        dropped |= below
    if config.unseen == "drop":
        events, items, unseen = _seen_in_training(events, items)
        dropped |= unseen
    return _finish(raw, events, items, dropped, noticed, split=config.split.type)


def _in_order(interactions: pd.DataFrame) -> pd.DataFrame:
    """Users in order of first appearance, the rows of each by time; `order` is a row's index before."""
    text = {name: category(interactions[name]) for name in ("user_id", "item_id")}
    users = by_appearance(text["user_id"])
    order = np.lexsort((interactions["timestamp"].to_numpy(), users))  # stable: file order breaks ties
    order = in_blocks(len(order), np.int64, lambda block: order[block])
    return with_column(taken_rows(interactions.assign(**text), order), "order", order)


def _users(events: pd.DataFrame) -> np.ndarray:
    """(rows,) int32: the users' numbers, 0 for the first; the rows of each are neighbours."""
    return run_numbers(coded(events["user_id"])[0])


def _count(numbers: np.ndarray) -> int:
    """Of users, by their numbers in ascending order."""
    return int(numbers[-1]) + 1 if len(numbers) else 0


def _core(
    events: pd.DataFrame, items: pd.DataFrame, counted: np.ndarray, k: int, name: str
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Interactions and items in the k-core of the `counted` interactions, and what went, by reason.

    What validation refuses is no part of it and stays, so that no filter hides it.
    """
    users = _users(events)
    (catalogue, item), names = shared_codes(items["item_id"], events["item_id"])
    sound, untitled = ~is_orphan(events, items), is_untitled(items)
    core_users, core_items = k_core(users, item, counted & sound, k)
    core_items = np.pad(core_items, (0, len(names) - len(core_items)), constant_values=True)
    kept = looked_up(core_users, users) & looked_up(core_items, item) | ~sound
    stays = core_items[catalogue] | untitled
    reasons = {
        f"users below the {name}": int((~core_users).sum()),
        f"items below the {name}": int((~stays).sum()),
        f"interactions below the {name}": int((~kept).sum()),
    }
    return kept_rows(events, kept), items[stays], reasons


def _seen_in_training(events: pd.DataFrame, items: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Without the users and items that training never sees; what validation refuses stays."""
    users = _users(events)
    (catalogue, item), names = shared_codes(items["item_id"], events["item_id"])
    training = (events["period"] == PERIODS[TRAIN]).to_numpy()
    seen_users = tally(selected(users, training), _count(users)) > 0
    seen_items = tally(selected(item, training), len(names)) > 0
    kept = looked_up(seen_users, users) & looked_up(seen_items, item) | is_orphan(events, items)
    stays = seen_items[catalogue] | is_untitled(items)
    reasons = {
        "users never seen in training": int((~seen_users).sum()),
        "items never seen in training": int((~stays).sum()),
        "interactions of users or items never seen in training": int((~kept).sum()),
    }
    return kept_rows(events, kept), items[stays], reasons


def _own_windows(raw: RawData, items: pd.DataFrame, noticed: dict[str, int]) -> Dataset:
    """Window files come filtered and split: their rows are taken as they are."""
    assert raw.windows is not None
    assert raw.periods is not None
    events = raw.interactions.assign(period=category(raw.periods.astype("str")))
    trained = events.loc[events["period"] == "train", "item_id"].unique()
    windows = raw.windows.assign(warm=raw.windows["target"].isin(trained)).reset_index(drop=True)
    windows.insert(0, "row_id", np.arange(len(windows), dtype=np.int64))
    return _finish(raw, events, items, dict(raw.dropped), noticed, split="the files' own, unfiltered", windows=windows)


def _finish(
    raw: RawData,
    events: pd.DataFrame,
    items: pd.DataFrame,
    dropped: dict[str, int],
    noticed: dict[str, int],
    *,
    split: str,
    windows: pd.DataFrame | None = None,
) -> Dataset:
    period, names = coded(events["period"])
    periods = dict(zip(names, tally(period, len(names)).tolist(), strict=True))
    if not periods.get("train", 0):
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "nothing dropped"
        raise RereError(
            "training interactions after filtering",
            f"none of {len(raw.interactions)} read: {counts}",
            "lower `k_core`, or give more data",
        )
    times = raw.interactions["timestamp"]
    report = IngestReport(
        source=raw.name,
        source_sha256=raw.sha256,
        split=split,
        read={
            "interactions": len(raw.interactions),
            "users": _distinct(raw.interactions["user_id"]),
            "items": len(raw.items),
        },
        times_read=(int(times.min()), int(times.max())),
        dropped={reason: count for reason, count in dropped.items() if count},
        noticed={what: count for what, count in noticed.items() if count},
        kept={
            "interactions": len(events),
            "users": _distinct(events["user_id"]),
            "items": len(items),
            **{name: periods.get(name, 0) for name in PERIODS},
        },
    )
    positions: dict[str, Any] = {"items": items.index}
    if windows is None:
        index = raw.interactions.index
        in_file_order = isinstance(index, pd.RangeIndex)
        order = events["order"].to_numpy()
        positions["interactions"] = order if in_file_order else looked_up(index.to_numpy(), order)
    else:
        positions["windows"] = pd.Index(windows.pop("position"))
    origins = {
        table: Origin(np.asarray(positions[table], dtype=np.int64), segments)
        for table, segments in raw.segments.items()
    }
    text = {name: without_unused(category(events[name])) for name in ("user_id", "item_id")}
    events = events.assign(**text)[["user_id", "item_id", "timestamp", "period"]].reset_index(drop=True)
    return Dataset(events, items.reset_index(drop=True), report, windows, origins)


def _distinct(column: pd.Series) -> int:
    codes, names = coded(column)
    return int((tally(codes, len(names)) > 0).sum())
