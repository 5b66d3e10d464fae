"""Type-ahead over titles: substring search in one long text, which is fast enough for a million titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

LINE = "\n"
ACCENTS = re.compile("[\u0300-\u036f]")
BARE = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th", "’": "'"})


def folded(text: str) -> str:
    """A title as it is typed in haste: lower case, without accents, single spaces."""
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())).translate(BARE)
    return " ".join(text.casefold().split())


class TitleSearch:
    """Titles in which a query occurs, whatever case and accents; those that begin with it first."""

    def __init__(self, titles: Sequence[str]) -> None:
        lines = [folded(title) for title in titles]
        self._text = LINE + LINE.join(lines) + LINE
        lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
        self._starts = 1 + np.concatenate([[0], np.cumsum(lengths + 1)])

    def find(self, query: str) -> Iterator[int]:
        """Indices of matching titles, each once, in the order described."""
        wanted, seen = folded(query), set()
        for pattern in (LINE + wanted, wanted) if wanted else ():
            position = self._text.find(pattern)
            while 0 <= position < len(self._text) - 1:
                index = int(np.searchsorted(self._starts, position + (pattern[0] == LINE), side="right")) - 1
                if index not in seen:
                    seen.add(index)
                    yield index
                position = self._text.find(pattern, int(self._starts[index + 1]) - 1)
