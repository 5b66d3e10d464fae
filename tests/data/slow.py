"""Slow, obvious versions of what `rere.data` does with codes and views."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import pandas as pd

from rere.data.dataset import Dataset, Windows


def slow_window_flags(windows: Windows, dataset: Dataset) -> pd.DataFrame:
    """The flags of `rere.data.flags.flag_windows`, row by row."""
    events = list(dataset.interactions.itertuples(index=False, name=None))
    catalogue = set(dataset.items["item_id"])
    trained = {item for _, item, _, period in events if period == "train"}
    places: dict[Any, list[int]] = defaultdict(list)
    asked: dict[Any, int] = defaultdict(int)
    for place, (user, item, time, _) in enumerate(events):
        places[user, item, time].append(place)
    columns = ["user_id", "history", "target", "timestamp", "period", "warm"]
    rows = list(windows.table[columns].itertuples(index=False, name=None))
    told = [(user, item, time, tuple(history)) for user, history, item, time, _, _ in rows]
    training_keys = {key for key, row in zip(told, rows, strict=True) if row[4] == "train"}
    found = []
    for user, history, target, time, period, warm in rows:
        key, n = (user, target, time), len(history)
        place = places[key][asked[key]] if asked[key] < len(places[key]) else -1
        asked[key] += 1
        positions = [max(place - n + k, -1) for k in range(n)]
        precedes = place >= 0 and all(
            position >= 0 and events[position][:2] == (user, item)
            for position, item in zip(positions, history, strict=True)
        )
        found.append(
            {
                "history_length": n,
                "target_in_catalogue": target in catalogue,
                "history_in_catalogue": set(history) <= catalogue,
                "target_happened": place >= 0 and events[place][3] == period,
                "history_precedes": precedes,
                "trains_on_training": period != "train"
                or not precedes
                or all(events[p][3] == "train" for p in positions),
                "target_unseen": period == "train" or (*key, tuple(history)) not in training_keys,
                "told_once": told.count((*key, tuple(history))) == 1,
                "warm_is_right": warm == (target in trained),
            }
        )
    return pd.DataFrame(found)


def slow_fingerprint(windows: Windows) -> str:
    """Every row's hash, all at once, as lines sorted by the row's number as text."""
    table = windows.table.assign(
        history=pd.Series([tuple(history) for history in windows.table["history"]], dtype=object)
    )
    for name in ("user_id", "target", "period"):
        table[name] = table[name].astype("str")
    sums = {str(n): value for n, value in enumerate(pd.util.hash_pandas_object(table, index=False).tolist())}
    return hashlib.sha256("".join(f"{n} {value}\n" for n, value in sorted(sums.items())).encode()).hexdigest()
