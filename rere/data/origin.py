"""Where a table's rows come from: the file of each, and its number there as an editor counts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Segment(NamedTuple):
    """Rows read one after the other from one file."""

    start: int  # position of the first one among all rows read
    file: str
    first_row: int  # its number in the file: the line of text, the row (from 0) of Parquet


@dataclass(frozen=True)
class Origin:
    """positions: (rows,) position of each row among all rows read; segments: in order of `start`."""

    positions: np.ndarray
    segments: Sequence[Segment]

    def of(self, row: int) -> tuple[str, int]:
        """File and number of a row."""
        position = int(self.positions[row])
        segment = self.segments[bisect_right([segment.start for segment in self.segments], position) - 1]
        return segment.file, segment.first_row + position - segment.start


def segments_of(files: Sequence[Path | str], first_rows: Sequence[int], rows: Sequence[int]) -> list[Segment]:
    """Of tables (or parts of tables) read in turn, `rows` of each."""
    starts = np.cumsum([0, *rows]).tolist()
    return [Segment(start, str(file), first) for start, file, first in zip(starts, files, first_rows, strict=False)]
