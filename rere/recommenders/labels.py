"""What results call the models of a run: in tables on disk, in reports, in code. Item models bring their own names."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Label(StrEnum):
    """Compare with these, never with their text."""

    POPULARITY = "popularity"
    SFT = "SFT"
    RL = "ReRe"
    BLEND = "blend"  # ReRe with an item model's part in every search
    BOOSTED = "ReRe, new items boosted"
    ALONE = "served item model"  # in ReRe's stead
    CHAMPION = "champion"
    CHALLENGER = "challenger"


def to_serve(models: Iterable[str]) -> Label:
    """Which of a run's models is judged and registered: ReRe, unless another stands in its place."""
    known = set(models)
    return next((label for label in (Label.ALONE, Label.BLEND, Label.BOOSTED) if label in known), Label.RL)
