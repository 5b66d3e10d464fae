"""Ids and titles to item indices."""

from __future__ import annotations

import pytest

from rere.errors import RereError
from rere.serving.item_resolver import ItemLookup

LOOKUP = ItemLookup(["7", "8", "9", "Alien"], ["Alien", "Brazil", "Brazil", "Heat"])


def test_ids_and_titles_and_an_id_wins_over_a_title() -> None:
    assert LOOKUP.resolve(["8", "Heat", "7"]).items == [1, 3, 0]
    assert LOOKUP.resolve(["Alien"]).items == [3]


def test_unknown_entries_are_listed_and_the_rest_is_answered() -> None:
    found = LOOKUP.resolve(["8", "Brasil", "Brazil"])
    assert found.items == [1]
    assert found.unknown == [
        ("Brasil", "no item has this id or title"),
        ("Brazil", "2 items share this title: give an id, such as 8"),
    ]


@pytest.mark.parametrize(
    ("history", "message"),
    [([], "an empty one"), (["Brasil"], r"1 entries, none of them known \('Brasil'"), (["Brazil"], "2 items share")],
)
def test_a_history_without_a_known_item_is_refused(history: list[str], message: str) -> None:
    with pytest.raises(RereError, match=message):
        LOOKUP.resolve(history).require_any()
