"""Lists as text in a table's column: Python's (`['12', '7']`), JSON's, and NumPy's, without commas (`['12' '7']`).

Python reads `['12' '7']` as the list of one text, '127': such neighbours are told apart here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rere.data.columns import EXACT_FLOATS
from rere.errors import RereError

QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
ELEMENT = rf"(?:''|{NUMBER})"  # a text, whose content is taken out, or a number
NUMPY_LIST = re.compile(rf"\[\s*{ELEMENT}(?:\s+{ELEMENT})+\s*\]")
# NumPy 2 prints its scalars in Python's lists so: np.int64(12), np.str_('7')
NUMPY_SCALAR = re.compile(r"\bnp\.\w+\(([^()]*)\)")
UNREADABLE = (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, OverflowError)


def read_lists(column: pd.Series, path: Path, first_row: int) -> pd.Series:
    """Lists of texts and numbers; a column of lists or arrays (Parquet) is taken as it is.

    Raises:
        RereError: the first row that has none, by its number.
    """
    lists = []
    for number, value in enumerate(column):
        try:
            found = parse_list(value) if isinstance(value, str) else _as_list(value)
        except UNREADABLE:
            found = None
        if found is None:
            hint = ", shortened when it was printed" if isinstance(value, str) and "..." in value else ""
            raise RereError(
                f"a list in column {column.name!r} of {path}, such as ['12', '7']",
                f"{str(value)[:200]!r} in line {number + first_row}{hint}",
                "repair that line",
            )
        lists.append(found)
    return pd.Series(lists, index=column.index, dtype=object)


def parse_list(text: str) -> list[Any] | None:
    """The list that a text spells, of texts and finite numbers; None where it spells none, or not beyond doubt."""
    texts = iter(QUOTED.findall(text))
    bare = NUMPY_SCALAR.sub(r"\1", QUOTED.sub("''", text)).strip()  # the lists' structure alone
    if NUMPY_LIST.fullmatch(bare):
        bare = f"[{', '.join(re.findall(ELEMENT, bare))}]"
    elif re.search(r"''\s*''", bare):
        return None  # neighbours without a comma, in a list that isn't NumPy's
    return _as_list(ast.literal_eval(re.sub("''", lambda _: next(texts), bare)))


def _as_list(value: Any) -> list[Any] | None:
    if not isinstance(value, list | np.ndarray):
        return None
    elements = value.tolist() if isinstance(value, np.ndarray) else value
    return elements if all(_is_scalar(element) for element in elements) else None


def ids_of(elements: list[Any]) -> list[str] | None:
    """Texts as they are (stripped), whole numbers without a decimal point; None where there are others."""
    ids = []
    for element in elements:
        if isinstance(element, float) and not (element.is_integer() and abs(element) < EXACT_FLOATS):
            return None
        ids.append(element.strip() if isinstance(element, str) else str(int(element)))
    return ids


def _is_scalar(element: Any) -> bool:
    if isinstance(element, float):
        return bool(np.isfinite(element))
    return isinstance(element, str | int) and not isinstance(element, bool)
