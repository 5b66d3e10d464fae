"""A version's recipe: read from the records alone, run again, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ops.registry import mlflow_registry
from ops.registry import recipe as recipes
from ops.registry.mlflow_registry import Listed
from ops.registry.recipe import Recipe, recipe_of, run_configuration
from ops.registry.stages import Promoted
from ops.registry.tags import VersionTags
from pipelines.checked import defaults_of, settings_of
from pipelines.reproduce import compared, not_reproducible, require_same_files
from pipelines.rere import rere_pipeline
from pipelines.retrain import retrain_pipeline
from pipelines.settings import RunSettings
from rere.artifacts.manifest import sha256
from rere.artifacts.provenance import provenance
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.data.sources.tables import Tables
from rere.errors import RereError
from rere.evaluation.verdict import Verdict


@pytest.fixture
def data(tmp_path: Path) -> Tables:
    pd.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [1]}).to_csv(tmp_path / "events.csv", index=False)
    pd.DataFrame({"item_id": ["a"], "title": ["A"]}).to_csv(tmp_path / "items.csv", index=False)
    return Tables(interactions=tmp_path / "events.csv", items=tmp_path / "items.csv")


@pytest.fixture
def record(data: Tables, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the registries hold of version 7."""
    chosen = defaults_of(rere_pipeline) | {"data": IngestConfig(source=data)}
    known: dict[str, Any] = {
        "settings": RunSettings(**chosen).model_dump(mode="json"),
        "data": {path.name: sha256(path) for path in map(Path, (data.interactions, data.items))},
        "windows": "w0",
        "provenance": provenance({}, {}) | {"git": {"commit": "c0ffee", "dirty": True}},
    }
    tags = VersionTags(fingerprint="f0", metric="ndcg@10", value=0.0512)
    monkeypatch.setattr(recipes, "metadata_of", lambda name, version: known)
    monkeypatch.setattr(mlflow_registry, "get", lambda name, version: Listed(version, 0, (), tags))
    return known


def test_the_printed_configuration_is_the_run_that_made_the_version(
    record: dict[str, Any], data: Tables, tmp_path: Path
) -> None:
    text = run_configuration(recipe_of("shop", "7"))
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    chosen = settings_of(rere_pipeline, tmp_path / "run.yaml")
    assert RunSettings(**chosen).model_dump(mode="json") == record["settings"]
    assert f"{sha256(Path(data.items))}  items.csv" in text
    assert "commit c0ffee, with uncommitted changes" in text
    assert "`rere reproduce 7 --model shop`" in text


def test_the_files_that_settings_name_are_no_setting(record: dict[str, Any]) -> None:
    record["settings"]["named"] = {"model/weights": "ab12"}
    found = recipe_of("shop", "7")
    assert found.named == {"model/weights": "ab12"}
    assert "named" not in yaml.safe_load(run_configuration(found))["parameters"]


def test_a_branch_of_the_hub_is_the_commit_that_it_was(record: dict[str, Any], tmp_path: Path) -> None:
    commit = "0123456789" * 4
    record["settings"]["catalog"]["backbone"] = {"type": "hub", "id": "org/model", "revision": "main"}
    record["settings"]["model_commits"] = {"org/model@main": commit}
    found = recipe_of("shop", "7")
    (tmp_path / "run.yaml").write_text(text := run_configuration(found), encoding="utf-8")
    assert settings_of(rere_pipeline, tmp_path / "run.yaml")["catalog"].backbone.revision == commit
    assert f"# on the hub: org/model@main was {commit}" in text
    assert not any("Not pinned" in said for said in not_reproducible(found))


def test_a_version_without_a_record_is_said(record: dict[str, Any]) -> None:
    del record["settings"]
    with pytest.raises(RereError, match="settings of version 7 of shop on record"):
        recipe_of("shop", "7")


def test_what_may_come_out_otherwise_is_said(record: dict[str, Any]) -> None:
    (said,) = not_reproducible(recipe_of("shop", "7"))
    assert "its commit is c0ffee, with uncommitted changes" in said
    record["provenance"]["git"] = None
    record["provenance"]["packages"]["torch"] = "1.0"
    record["settings"]["catalog"]["backbone"] = {"type": "hub", "id": "org/model", "revision": "main"}
    code, packages, moving = not_reproducible(recipe_of("shop", "7"))
    assert "not on record" in code
    assert "torch 1.0 (here " in packages
    assert "org/model (revision main)" in moving


@pytest.mark.parametrize(
    ("base", "pinned"),
    [("3", {"type": "version", "model": "shop", "version": "3"}), ("", "none"), (None, "champion")],
)
def test_a_retraining_is_made_again_from_the_champion_of_its_day(
    base: str | None, pinned: object, record: dict[str, Any], tmp_path: Path
) -> None:
    record["settings"]["retrain"] = RetrainConfig().model_dump(mode="json")
    record |= {} if base is None else {"base": base}
    found = recipe_of("shop", "7")
    assert (found.pipeline, found.parameters["retrain"]["base"]) == ("retrain", pinned)
    (tmp_path / "run.yaml").write_text(run_configuration(found), encoding="utf-8")
    assert settings_of(retrain_pipeline, tmp_path / "run.yaml")["retrain"].base is not None
    assert any("Which champion" in said for said in not_reproducible(found)) == (base is None)


def test_other_data_than_on_record_are_refused(record: dict[str, Any], data: Tables) -> None:
    require_same_files(recipe_of("shop", "7"))
    Path(data.items).write_text("item_id,title\na,B\n", encoding="utf-8")
    with pytest.raises(RereError, match=r"version 7 was made of.*items\.csv"):
        require_same_files(recipe_of("shop", "7"))
    Path(data.items).unlink()
    with pytest.raises(RereError, match=r"the items file at .*items\.csv; got no such file"):
        require_same_files(recipe_of("shop", "7"))


@pytest.mark.parametrize(
    ("content", "value", "windows", "result", "rows"),
    [
        ("f0", 0.05121, "w0", "identical", "the same"),
        ("f1", 0.05121, "w0", "same figure", "the same"),
        ("f1", 0.0514, "w0", "different", "the same"),
        ("f1", 0.0514, "w1", "different", "others"),
    ],
)
def test_the_two_are_compared(
    content: str, value: float, windows: str, result: str, rows: str, record: dict[str, Any]
) -> None:
    known: Recipe = recipe_of("shop", "7")
    again = Promoted(
        model="shop-reproduced",
        content=content,
        champion=None,
        is_champion=False,
        verdict=Verdict(passed=True, checks=()),
        metric="ndcg@10",
        value=value,
        newest=None,
        data={},
        windows=windows,
        settings={},
        page="",
        version="1",
        aliases=("challenger",),
        tracking_uri="",
    )
    found = compared(known, again, "run", [])
    assert (found.result, found.rows, found.before) == (result, rows, 0.0512)
    assert "0.0512 then" in found.sentence
