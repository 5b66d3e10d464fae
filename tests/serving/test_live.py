"""Snapshots, the changes that outlive a model, and the search over titles."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.models.context import longest_possible
from rere.serving.item_resolver import ItemLookup
from rere.serving.live_catalog import CatalogEdits, Snapshot
from rere.serving.titles import TitleSearch
from tests.conftest import TINY
from tests.serving.helpers import TITLES, tiny_catalog, tiny_deployment


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
    for history in ([], [3, 1, 3], (5,)):
        assert Snapshot.of(catalog).prompt_tokens(history) == len(Snapshot.of(catalog).prompt(history))


def semantic_catalog() -> CatalogIndex:
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(TITLES))], "title": TITLES})
    code = SemanticCode(embedding=TitleEmbedding(dimensions=4), codewords=4)
    return build_index(items, IndexConfig(backbone=TINY, code=code))


def test_items_that_a_model_cannot_take_are_skipped_and_the_rest_is_not() -> None:
    edits = CatalogEdits({"n1": "Star", "n2": " ", "n3": "Moon"}, frozenset({"i3"}))
    after = edits.apply(Snapshot.of(tiny_catalog()))
    assert after.ids[40:] == ["n1", "n3"]
    assert "at least one token" in str(after.skipped["n2", " "])
    assert after.removed == {3}
    assert edits.apply(after) is after  # what was refused once isn't tried again

    after = edits.apply(Snapshot.of(semantic_catalog()))
    assert len(after.ids) == 40
    assert {item for item, _ in after.skipped} == set(edits.added)
    assert "whose code can be given after training" in str(after.skipped["n1", "Star"])
    assert after.removed == {3}


def test_items_whose_codes_are_too_long_for_the_models_context_are_skipped() -> None:
    deployment = tiny_deployment()
    deployment.model.context = longest_possible(deployment.snapshot.catalog, deployment.history_items)
    long = {f"n{n}": f"A quite long beginning, shared by both {n}" for n in range(2)}
    after = deployment.edited(CatalogEdits({"short": "Star", **long}))
    assert after.ids[40:] == ["short", "n0"]  # alone, a prefix of it is enough
    assert [item for item, _ in after.skipped] == ["n1"]


@given(titles=st.lists(st.text("aAbß \n", max_size=6), max_size=20), query=st.text("abAß ", min_size=1, max_size=3))
def test_title_search_finds_what_a_loop_finds(titles: list[str], query: str) -> None:
    wanted = " ".join(query.casefold().split())
    folded = [" ".join(title.casefold().split()) for title in titles]
    begins = [n for n, title in enumerate(folded) if wanted and title.startswith(wanted)]
    contains = [n for n, title in enumerate(folded) if wanted and wanted in title]
    assert list(TitleSearch(titles).find(query)) == [*begins, *(n for n in contains if n not in begins)]


def test_unknown_entries_come_with_a_reason() -> None:
    lookup = ItemLookup.of(tiny_catalog([*TITLES[:3], TITLES[0]]))
    found = lookup.resolve(["i1", TITLES[2], "nope", TITLES[0], "", "i1"])
    assert found.items == [1, 2, 1]
    assert [entry for entry, _ in found.unknown] == ["nope", TITLES[0], ""]
    assert "2 items share" in found.unknown[1].reason
    assert found.unknown[2].reason == "it is empty"
