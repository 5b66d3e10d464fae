"""The titles of window files: of a file of their own, or of the rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rere.data.columns import require_file
from rere.errors import RereError


def titles_of_file(path: Path) -> pd.DataFrame:
    """item_id, title, has_sid of `title<TAB>id` lines (ReRe) or `sid<TAB>title<TAB>id` lines (MiniOneRec)."""
    try:
        text = require_file(path, "items").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RereError(f"UTF-8 text in {path}", f"{error.reason} at byte {error.start}", "save it as UTF-8") from error
    fields = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()]
    widths = {len(line) for line in fields}
    if len(widths) != 1 or not widths <= {2, 3}:
        raise RereError(
            f"`title<TAB>id` or `sid<TAB>title<TAB>id` in every line of {path}",
            f"lines of {', '.join(map(str, sorted(widths)))} fields" if widths else "an empty file",
            "repair the file, or leave `items` out to take the titles from the rows; MiniOneRec's index.json (semantic "
            "IDs) isn't read: `catalog.code` gives items their codes",
        )
    ids, titles = [line[-1].strip() for line in fields], [line[-2] for line in fields]
    return pd.DataFrame({"item_id": ids, "title": titles}, dtype="str").assign(has_sid=widths == {3})


def titles_of_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """item_id, title as the rows give them, in order of first appearance."""
    if rows["title"].isna().any() or rows["history_titles"].isna().any():
        raise RereError(
            "titles: an `items` file, or columns item_title and history_item_title in all three files",
            "neither",
            "name the `title<TAB>id` file as `items` in the source",
        )
    pairs = pd.DataFrame(
        {
            "item_id": [
                item for row in zip(rows["history"], rows["target"], strict=True) for item in (*row[0], row[1])
            ],
            "title": [
                title for row in zip(rows["history_titles"], rows["title"], strict=True) for title in (*row[0], row[1])
            ],
        }
    )
    return pairs.astype("str").drop_duplicates().assign(has_sid=False)
