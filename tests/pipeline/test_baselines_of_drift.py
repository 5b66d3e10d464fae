"""What a data set's drift is measured against: the last accepted one from the same place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ops.validation import accepted as accepted_profiles
from rere.data.sources.base import source_location
from rere.data.sources.hub import HubDataset
from rere.data.sources.movielens import MovieLens100K
from rere.data.sources.tables import Tables


class Kept(SimpleNamespace):
    """A profile's artifact version."""

    def load(self) -> str:
        return str(self.name)


def kept(name: str, location: str | None, content: str = "c") -> Kept:
    accepted = {} if location is None else {accepted_profiles.ACCEPTED: {"location": location, "content": content}}
    return Kept(name=name, run_metadata=accepted)


def known(monkeypatch: pytest.MonkeyPatch, *newest_first: Kept) -> None:
    """ZenML knows these profiles and hands out two at a time."""

    class Client:
        def list_artifact_versions(self, page: int, **_: Any) -> Any:
            return SimpleNamespace(items=newest_first[2 * page - 2 : 2 * page], total_pages=-(-len(newest_first) // 2))

    monkeypatch.setattr(accepted_profiles, "Client", Client)


def baseline(location: str, content: str) -> object:
    """What the fakes have in place of a profile: a name."""
    return accepted_profiles.previous_profile(location, content)


def test_two_sources_of_one_name_have_a_baseline_each(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, kept("shop b", "tables b/i.csv", "b"), kept("shop a", "tables a/i.csv", "a"))
    assert baseline("tables a/i.csv", "new") == "shop a"
    assert baseline("tables b/i.csv", "new") == "shop b"
    assert baseline("tables c/i.csv", "new") is None


def test_data_that_were_never_accepted_are_no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, kept("refused", None), kept("refused too", None), kept("accepted", "here"))
    assert baseline("here", "new") == "accepted"


def test_content_that_was_moved_keeps_its_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, kept("newer", "there", "other"), kept("older", "there", "same"))
    assert baseline("here", "same") == "older"


def test_a_location_is_where_the_files_are_whatever_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def of(folder: str) -> str:
        return source_location(Tables(interactions=Path(folder, "x.csv"), items=Path(folder, "i.csv")))

    assert of("a") == of("b/../a") == of(str(tmp_path / "a")) == "tables a/x.csv a/i.csv"
    assert of("a") != of("b")
    assert of("/elsewhere") == "tables /elsewhere/x.csv /elsewhere/i.csv"
    assert of("a") == source_location(Tables(interactions=Path("a/x.csv"), items=Path("a/i.csv"), user_column="u"))
    assert source_location(MovieLens100K()) == "movielens_100k"
    hub = HubDataset(interactions="org/name", items="org/items")
    assert source_location(hub) != source_location(hub.model_copy(update={"interactions_split": "test"}))
