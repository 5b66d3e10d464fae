"""What is known of an item in words: its title, then the columns of the items table that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rere.errors import RereError


def descriptions(titles: Sequence[str], columns: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """One line for each item: `Toy Story; genre: Animation; year: 1995`; what is missing is left out.

    Args:
        columns: the items' further columns, text or numbers; a row for each title.
        names: of the columns to tell, in their order.

    Raises:
        RereError: names that `columns` lacks.
    """
    if absent := [name for name in names if name not in columns]:
        known = ", ".join(map(str, columns)) or "none"
        raise RereError(
            f"the columns {', '.join(absent)} of the items, for `catalog.text_columns`",
            f"a data set that keeps {known}",
            "name them in the source's `item_columns`, or leave them out",
        )
    found = list(titles)
    for name in names:
        for row, value in enumerate(columns[name].tolist()):
            if not pd.isna(value) and (said := f"{value:g}" if isinstance(value, float) else " ".join(value.split())):
                found[row] += f"; {name}: {said}"
    return found
