"""Run or skip: what changed since the champion, asked of a registry and artifacts kept in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast
from unittest.mock import MagicMock

import pandas as pd
import pytest
import yaml
from zenml.io import fileio

from ops.registry import mlflow_registry
from ops.registry.mlflow_registry import Listed
from ops.registry.recipe import recorded
from ops.registry.tags import VersionTags
from ops.retraining import base as bases
from ops.retraining import plan as plans
from ops.retraining import unchanged
from ops.retraining.base import Base
from ops.retraining.plan import make_plan
from ops.retraining.unchanged import base_with
from ops.retraining.unchanged import made_of as made_of_these
from rere.artifacts.manifest import MANIFEST, sha256
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.data.collected import collect
from rere.data.dataset import Dataset
from rere.data.sources.base import load_source
from rere.data.sources.tables import Tables
from rere.errors import RereError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SETTINGS = {"sft": {"epochs": 2}}


@pytest.fixture
def data(tmp_path: Path) -> IngestConfig:
    pd.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]}).to_csv(tmp_path / "items.csv", index=False)
    config = IngestConfig(source=Tables(interactions=tmp_path / "events.csv", items=tmp_path / "items.csv"))
    write(config, [100, 200])
    return config


def write(data: IngestConfig, times: list[int]) -> None:
    assert isinstance(data.source, Tables)
    rows = [("u", "ab"[n % 2], time) for n, time in enumerate(times)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(data.source.interactions, index=False)


def made_of(data: IngestConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """What a version's record says of the source as it is now."""
    assert isinstance(data.source, Tables)
    files = (data.source.interactions, data.source.items)
    return {"data": {str(file): sha256(Path(file)) for file in files}, "settings": settings}


@pytest.fixture
def known(data: IngestConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Records by version; version 1 is the champion, made of the source as it was at first."""
    records = {"1": made_of(data, SETTINGS)}
    tags = VersionTags(judged_against="1", gate="failed")
    monkeypatch.setattr(plans, "metadata_of", lambda name, version: records[version])
    monkeypatch.setattr(
        mlflow_registry,
        "versions",
        lambda name: [Listed(version, 0, (), tags) for version in records],
    )
    return records


@pytest.fixture
def base(data: IngestConfig) -> Base:
    rows = collect(load_source(data.source))
    artifact: Any = SimpleNamespace(load=lambda: rows)
    return Base("1", artifact, artifact, artifact, artifact)


def plan(data: IngestConfig, base: Base | None, settings: dict[str, Any] = SETTINGS, least: int = 1) -> Any:
    return make_plan(data, RetrainConfig(minimum_new_interactions=least), "rere", settings, base)


def test_without_a_champion_it_runs(data: IngestConfig) -> None:
    found = plan(data, None)
    assert (found.type, found.reason) == ("run", "no champion of rere to go on from: the whole source is ingested")


def test_the_champions_own_files_are_nothing_new(data: IngestConfig, base: Base, known: Any) -> None:
    found = plan(data, base)
    assert (found.type, found.reason) == ("skip", "the source's files are those of the champion, version 1")


def test_other_settings_are_a_reason_to_run(data: IngestConfig, base: Base, known: Any) -> None:
    found = plan(data, base, {"sft": {"epochs": 9}, "unheard_of": {}})
    assert (found.type, found.reason) == ("run", "settings changed since version 1: sft")


def test_another_commit_of_the_model_is_a_reason_to_run_and_one_of_the_data_is_looked_at(
    data: IngestConfig, base: Base, known: Any
) -> None:
    known["1"]["settings"] = recorded(
        SETTINGS, named={}, data={"datasets/me/clicks@main": "a"}, models={"org/model@main": "a"}
    )
    now = recorded(SETTINGS, named={}, data={"datasets/me/clicks@main": "b"}, models={"org/model@main": "a"})
    assert plan(data, base, now).reason == "the source's files are those of the champion, version 1"
    now = recorded(SETTINGS, named={}, data={"datasets/me/clicks@main": "a"}, models={"org/model@main": "b"})
    assert plan(data, base, now).reason == "settings changed since version 1: model_commits"


def test_a_run_with_nothing_new_goes_on_from_what_the_champion_went_on_from(
    data: IngestConfig, base: Base, known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {None: base, "0": dataclasses.replace(base, version="0")}
    monkeypatch.setattr(bases, "find_base", lambda name, version=None: there.get(version))
    monkeypatch.setattr(unchanged, "find_base", bases.find_base)
    monkeypatch.setattr(unchanged, "metadata_of", lambda name, version: known[version])

    def goes_on_from(settings: dict[str, Any] = SETTINGS, base: Literal["champion", "none"] = "champion") -> str | None:
        found = base_with("rere", data, RetrainConfig(base=base), settings)
        return None if found is None else found.version

    assert goes_on_from() == "1"  # which went on from what isn't on record
    known["1"]["base"] = "0"
    assert goes_on_from() == "0"
    assert goes_on_from({"sft": {"epochs": 9}}) == "1"
    assert goes_on_from(base="none") == "1"
    known["1"]["base"] = "7"  # whose files are gone
    assert goes_on_from() == "1"
    known["1"]["base"] = ""
    assert goes_on_from() is None
    write(data, [100, 200, 300])
    assert goes_on_from() == "1"


def test_data_sets_of_a_hub_are_known_by_their_commits() -> None:
    settings = recorded(SETTINGS, named={}, data={"datasets/me/clicks@main": "a"}, models={})
    moved = recorded(SETTINGS, named={}, data={"datasets/me/clicks@main": "b"}, models={})
    assert made_of_these({"data": {}, "settings": settings}, None, settings)
    assert not made_of_these({"data": {}, "settings": settings}, None, moved)
    assert not made_of_these({"data": {}, "settings": SETTINGS}, None, SETTINGS)  # nothing is known of the rows


def test_new_rows_are_counted(data: IngestConfig, base: Base, known: Any) -> None:
    write(data, [50, 100, 200, 201, 300])  # a late one, too
    found = plan(data, base)
    assert found.type == "run"
    assert found.reason.startswith("3 interactions are new since 1970-01-01 00:03:20, the newest of version 1")
    found = plan(data, base, least=4)
    assert found.type == "skip"
    assert found.reason.endswith("at least 4 are asked")


NIGHT = [(100, "a"), (200, "b")]  # what the source had yesterday: times and items


@pytest.mark.parametrize(
    ("rows", "columns", "deleted", "kind", "reason"),
    [
        (
            [(50, "a"), *NIGHT],
            {},
            "keep",
            "skip",
            "(1 came late, older than that: `retrain: {base",
        ),
        (NIGHT[1:], {}, "keep", "skip", "(1 of its rows are gone at the source, and kept)"),
        (NIGHT[1:], {}, "forget", "run", "1 interactions of version 1 were deleted at the source"),
        (NIGHT, {}, "forget", "skip", "the source's files are those of the champion"),
        ([*NIGHT, (300, "c")], {}, "keep", "run", "1 interactions are new"),  # a new item
        ([*NIGHT, (300, "a")], {"timestamp": "time"}, "keep", None, "a column 'timestamp'"),  # a renamed column
        ([*NIGHT, (300, "a")], {"user_id": None}, "keep", None, "a column 'user_id'"),  # a dropped one
        ([*NIGHT, ("soon", "a")], {}, "keep", None, "soon"),  # another kind of values
    ],
)
def test_what_a_night_may_bring_has_its_reason(
    rows: list[tuple[Any, str]],
    columns: dict[str, str | None],
    deleted: Any,
    kind: str | None,
    reason: str,
    data: IngestConfig,
    base: Base,
    known: Any,
) -> None:
    assert isinstance(data.source, Tables)
    items = sorted({"a", "b", *(item for _, item in rows)})
    if items != ["a", "b"]:
        pd.DataFrame({"item_id": items, "title": [item.upper() for item in items]}).to_csv(
            data.source.items, index=False
        )
    table = pd.DataFrame([("u", item, time) for time, item in rows], columns=["user_id", "item_id", "timestamp"])
    kept = [name for name in table if columns.get(str(name), name) is not None]
    table = table[kept].rename(columns={name: new for name, new in columns.items() if new is not None})
    table.to_csv(data.source.interactions, index=False)

    def planned() -> Any:
        return make_plan(data, RetrainConfig(deleted=deleted), "rere", SETTINGS, base)

    if kind is None:
        with pytest.raises(RereError, match=reason):
            planned()
        return
    assert (planned().type, reason in planned().reason) == (kind, True), planned()


def test_of_a_champion_that_keeps_no_rows_the_newest_time_counts(
    data: IngestConfig, base: Base, known: Any, world_dataset: Dataset
) -> None:
    newest = int(world_dataset.interactions["timestamp"].max())
    write(data, [newest - 1, newest, newest + 1])
    plain = dataclasses.replace(base, dataset=cast(Any, SimpleNamespace(load=lambda: world_dataset)), collected=None)
    assert plan(data, plain).reason.startswith("1 interactions are new since")


def test_changed_bytes_without_new_rows_are_nothing_new(data: IngestConfig, base: Base, known: Any) -> None:
    write(data, [100])
    found = plan(data, base)
    assert found.type == "skip"
    assert found.reason.startswith("0 interactions are new")


def test_what_the_gate_refused_is_not_trained_again(data: IngestConfig, base: Base, known: dict[str, Any]) -> None:
    write(data, [100, 200, 300])
    known["2"] = made_of(data, SETTINGS)
    found = plan(data, base)
    assert found.type == "skip"
    assert "version 2 was made of these very data and settings" in found.reason
    assert "gate: failed" in found.reason
    known["2"] = made_of(data, {"sft": {"epochs": 3}})  # other settings: worth another try
    assert plan(data, base).type == "run"


def test_settings_are_read_with_their_defaults_and_mistakes_are_named(tmp_path: Path) -> None:
    from pipelines.checked import settings_of
    from pipelines.retrain import retrain_pipeline

    config = tmp_path / "config.yaml"
    config.write_text("parameters:\n  retrain: {minimum_new_interactions: 7}\n", encoding="utf-8")
    chosen = settings_of(retrain_pipeline, config)
    assert chosen["retrain"] == RetrainConfig(minimum_new_interactions=7)
    assert chosen["data"] == IngestConfig()
    for text, message in {
        "parameters:\n  sft: {learning_rat: 1}\n": r"sft.learning_rat: no such setting \(did you mean `learning_r",
        "parameters:\n  nonsense: 1\n": "nonsense: no such setting",
    }.items():
        config.write_text(text, encoding="utf-8")
        with pytest.raises(RereError, match=message):
            settings_of(retrain_pipeline, config)


def test_a_retraining_runs_where_another_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ops.retraining.platform import placed
    from pipelines.checked import settings_of
    from pipelines.retrain import retrain_pipeline

    (tmp_path / ".rere").mkdir()
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    nightly, cluster = CONFIGS / "retrain.yaml", CONFIGS / "k8s.yaml"
    both = placed(nightly, cluster)
    assert both.is_relative_to(tmp_path)
    read = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (nightly, cluster, both)}
    assert read[both] == {**read[cluster], "parameters": read[nightly]["parameters"]}
    assert settings_of(retrain_pipeline, both) == settings_of(retrain_pipeline, nightly)
    assert placed(nightly, None) == nightly
    with pytest.raises(RereError, match="settings, steps in both"):
        placed(both, cluster)


@pytest.mark.parametrize("lost", ["rl_model", "catalog", "dataset"])
def test_a_champion_whose_files_are_gone_is_no_base(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = {name: SimpleNamespace(uri=str(tmp_path / name), run_metadata={}) for name in bases.FOLDERS}
    whole = {name: tmp_path / name / folder / MANIFEST for name, folder in bases.FOLDERS.items()}
    for name, manifest in whole.items():
        manifest.parent.mkdir(parents=True)
        if name != lost:
            manifest.touch()
    monkeypatch.setattr(mlflow_registry, "champion_version", lambda name: "3")
    monkeypatch.setattr(bases, "artifacts_of", lambda name, version: found)
    monkeypatch.setattr(bases, "Client", MagicMock())
    assert bases.find_base("rere") is None
    assert f"Version 3, the base, lacks its {lost}" in caplog.text
    whole[lost].touch()
    base = bases.find_base("rere")
    assert base is not None
    assert (base.version, base.collected) == ("3", None)  # made by the plain pipeline, which keeps no rows
    assert vars(base)["language_model"] is found["rl_model"]  # also where preference training came before it
    del found["rl_model"]  # that took RL's place
    base = bases.find_base("rere")
    assert base is not None
    assert vars(base)["language_model"] is found["preference_model"]


def test_the_artifact_store_is_loaded_before_its_files_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a store that was loaded makes its kind of address known, `s3://` for one."""
    happened: list[str] = []

    class Stack:
        @property
        def artifact_store(self) -> None:
            happened.append("loaded")

    def exists(path: str) -> bool:
        happened.append(path)
        return True

    found = {name: SimpleNamespace(uri="s3://bucket", run_metadata={}) for name in bases.FOLDERS}
    monkeypatch.setattr(bases, "artifacts_of", lambda name, version: found)
    monkeypatch.setattr(bases, "Client", lambda: SimpleNamespace(active_stack=Stack()))
    monkeypatch.setattr(fileio, "exists", exists)
    assert bases.find_base("rere", "1") is not None
    assert happened[0] == "loaded"
    assert len(happened) > 1
