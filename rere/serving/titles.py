"""Type-ahead over titles: substring search in one long text, which is fast enough for a million titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

LINE = "\n"


class TitleSearch:
    """Titles in which a query occurs, whatever the case; those that begin with it first."""

    def __init__(self, titles: Sequence[str]) -> None:
        folded = [" ".join(title.casefold().split()) for title in titles]
        self._text = LINE + LINE.join(folded) + LINE
        lengths = np.fromiter(map(len, folded), dtype=np.int64, count=len(folded))
        self._starts = 1 + np.concatenate([[0], np.cumsum(lengths + 1)])

    def find(self, query: str) -> Iterator[int]:
        """Indices of matching titles, each once, in the order described."""
        wanted, seen = " ".join(query.casefold().split()), set()
        for pattern in (LINE + wanted, wanted) if wanted else ():
            place = self._text.find(pattern)
            while 0 <= place < len(self._text) - 1:
                index = int(np.searchsorted(self._starts, place + (pattern[0] == LINE), side="right")) - 1
                if index not in seen:
                    seen.add(index)
                    yield index
                place = self._text.find(pattern, int(self._starts[index + 1]) - 1)
