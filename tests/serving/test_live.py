"""Snapshots, the changes that outlive a model, and the search over titles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rere.errors import RereError
from rere.serving.live import CatalogEdits, Snapshot
from rere.serving.lookup import ItemLookup
from rere.serving.titles import TitleSearch
from tests.serving.helpers import TITLES, tiny_catalog


def test_changes_make_a_new_snapshot_and_leave_the_old_one() -> None:
    before = Snapshot.of(tiny_catalog())
    edits = CatalogEdits({"n1": "Star", "i2": "ignored: the catalogue has i2"}, frozenset({"i3", "n1", "unknown"}))
    after = edits.apply(before)
    assert after.ids == [*before.ids, "n1"]
    assert after.titles[-1] == "Star"
    assert after.removed == {3, 40}
    assert before.removed == frozenset()
    assert len(before.gone) == 0
    assert before.lookup.index_of("n1") is None
    assert next(after.search.find("star")) == 1  # begins with it, and is the first that does
    assert 40 in after.search.find("STAR")


def test_a_prompt_is_the_catalogues() -> None:
    catalog = tiny_catalog()
    assert Snapshot.of(catalog).prompt([3, 1, 3]) == catalog.prompt([3, 1, 3])


def test_edits_are_kept_whole(tmp_path: Path) -> None:
    path, edits = tmp_path / "deep" / "edits.json", CatalogEdits({"a": "Ä ☂"}, frozenset({"x", "y"}))
    assert CatalogEdits.load(path) == CatalogEdits()
    edits.save(path)
    assert CatalogEdits.load(path) == edits
    assert [file.name for file in path.parent.iterdir()] == ["edits.json"]
    path.write_text('{"added": []}', encoding="utf-8")
    with pytest.raises(RereError, match=r"edits\.json"):
        CatalogEdits.load(path)


@given(titles=st.lists(st.text("aAbß \n", max_size=6), max_size=20), query=st.text("abAß ", min_size=1, max_size=3))
def test_title_search_finds_what_a_loop_finds(titles: list[str], query: str) -> None:
    wanted = " ".join(query.casefold().split())
    folded = [" ".join(title.casefold().split()) for title in titles]
    begins = [n for n, title in enumerate(folded) if wanted and title.startswith(wanted)]
    contains = [n for n, title in enumerate(folded) if wanted and wanted in title]
    assert list(TitleSearch(titles).find(query)) == [*begins, *(n for n in contains if n not in begins)]


def test_unknown_entries_come_with_a_reason() -> None:
    lookup = ItemLookup(tiny_catalog([*TITLES[:3], TITLES[0]]))
    found, unknown = lookup.known(["i1", TITLES[2], "nope", TITLES[0], "i1"])
    assert found == [1, 2, 1]
    assert [entry for entry, _ in unknown] == ["nope", TITLES[0]]
    assert "2 items share" in unknown[1][1]
