"""A history as people and programs write it, to a list of entries: one reader for batch inference and MLflow.

Text is parsed as a list or refused, never read letter by letter.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pandas as pd

from rere.data.columns import EXACT_FLOATS
from rere.data.literal_lists import UNREADABLE, parse_list
from rere.errors import RereError

REMEDY = (
    'write lists, or text such as ["50", "181"]; for text such as 50 181, name what stands between entries '
    "(`users.separator`)"
)


def read_history(value: object, separator: str | None = None) -> list[str]:
    """Item ids or titles, oldest first; a missing entry is empty text.

    Args:
        value: a list or array of ids (text or whole numbers, also as floats) and titles; or text: a list as JSON,
            Python or NumPy writes it, or entries with `separator` between them.

    Raises:
        RereError: no history, text that is no list, or an entry that can't be an id.
    """
    if isinstance(value, str):
        entries: Iterable[object] = _entries(value, separator)
    elif isinstance(value, Iterable) and not (isinstance(value, bytes | dict) or _is_scalar_array(value)):
        entries = value
    else:
        raise RereError("a history", "none" if _is_missing(value) else repr(value)[:80], REMEDY)
    return [_entry(entry) for entry in entries]


def _entries(text: str, separator: str | None) -> Iterable[object]:
    if separator is not None:
        parts = text.split() if separator.isspace() else text.split(separator)
        return [part.strip() for part in parts if part.strip()]
    found = _parsed(text.strip())
    if not isinstance(found, list):
        raise RereError("a history that is a list", f"the text {text[:80]!r}" if text else "none", REMEDY)
    return found


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return parse_list(text)
    except UNREADABLE:
        return None


def _entry(entry: object) -> str:
    if isinstance(entry, str):
        return entry
    if _is_missing(entry):
        return ""
    if isinstance(entry, numbers.Integral) and not isinstance(entry, bool):
        return str(int(entry))
    if isinstance(entry, float | np.floating) and float(entry).is_integer() and abs(float(entry)) < EXACT_FLOATS:
        return str(int(float(entry)))
    raise RereError("entries that are ids or titles", repr(entry)[:80], "write ids as text or as whole numbers")


def _is_missing(value: object) -> bool:
    """None, NaN, or pandas' NA; an array has no one answer to `!=`, and NA has none at all."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(cast(Any, value)))


def _is_scalar_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 0
