"""What results call the models of a run: in tables on disk, in reports, in code. Item models bring their own names."""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """Compare with these, never with their text."""

    POPULARITY = "popularity"
    SFT = "SFT"
    RL = "ReRe"
    CHAMPION = "champion"
    CHALLENGER = "challenger"
