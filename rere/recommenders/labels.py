"""What results call the models of a run: in tables on disk, in reports, in code. Item models bring their own names."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Label(StrEnum):
    """Compare with these, never with their text."""

    POPULARITY = "popularity"
    SFT = "SFT"
    PREFERENCE = "preference"  # DPO and what came after it
    RL = "ReRe"
    REASONING = "reasoning"  # a text, then a recommendation head; judged, and never served
    BLEND = "blend"  # the served language model with an item model's part in every search
    BOOSTED = "ReRe, new items boosted"
    PREFERENCE_BOOSTED = "preference, new items boosted"  # where it is served
    ALONE = "served item model"  # in ReRe's stead
    CHAMPION = "champion"
    CHALLENGER = "challenger"


# Each stands in the place of those after it.
SERVED = (Label.ALONE, Label.BLEND, Label.BOOSTED, Label.PREFERENCE_BOOSTED, Label.RL, Label.PREFERENCE)


def to_serve(models: Iterable[str]) -> Label:
    """Which of a run's models is judged and registered: ReRe, unless another stands in its place."""
    known = set(models)
    return next((label for label in SERVED if label in known), Label.RL)
