"""Each materializer: what was saved comes back; what was altered or half-written is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from materializers.catalog import CatalogIndexMaterializer
from materializers.checkpoint import CheckpointMaterializer
from materializers.dataset import DatasetMaterializer, WindowsMaterializer
from materializers.directory import DirectoryMaterializer
from materializers.item_models import ItemModelsMaterializer
from materializers.table import TableMaterializer
from rere.artifacts import manifest
from rere.artifacts.manifest import MANIFEST, seal
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.recommenders import ItemModelsConfig
from rere.data.dataset import Dataset, IngestReport, Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData
from rere.recommenders.sequential.sasrec import SASRecConfig


def a_dataset() -> Dataset:
    return Dataset(
        interactions=pd.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [1], "period": ["train"]}),
        items=pd.DataFrame({"item_id": ["a", "b"], "title": ["Alien", "Brazil"]}),
        report=IngestReport(source="test", source_sha256={"f": "0"}, read={"items": 2}, dropped={}, kept={"items": 2}),
    )


def some_windows() -> Windows:
    rows = {"row_id": [0, 1], "user_id": ["u", "v"], "history": [["a"], ["b", "a"]], "target": ["b", "c"]}
    table = pd.DataFrame({**rows, "timestamp": [1, 2], "period": ["train", "test"], "warm": [True, False]})
    return Windows(table, history_items=10)


def a_catalog() -> CatalogIndex:
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "title": ["Alien", "Brazil", "Brazil"]})
    return build_index(items, IndexConfig(code=PrefixCode(), backbone=ScratchModel(vocabulary=300)))


def a_checkpoint(directory: Path) -> Checkpoint:
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"weights")
    (directory / "config.json").write_text('{"model_type": "llama", "transformers_version": "5.0"}', encoding="utf-8")
    (directory / "curves.jsonl").write_text('{"update": 1, "loss": 2.5}\n', encoding="utf-8")
    (directory / "training.json").write_text('{"seconds": 3}', encoding="utf-8")
    seal(directory)
    return Checkpoint(directory)


def keep(kind: type[DirectoryMaterializer], data: Any, tmp_path: Path, store: Any) -> tuple[Any, DirectoryMaterializer]:
    """Save and load as ZenML does; returns what came back."""
    uri = str(tmp_path / "store" / kind.__name__)
    saving = kind(uri, store)
    saving.save(data)
    saving.save_visualizations(data)
    assert saving.extract_metadata(data)["files"]  # one or more
    if kind is not CheckpointMaterializer:  # whose records say what the clock said
        assert saving.compute_content_hash(data) == saving.extract_metadata(data)["sha256"]
    return kind(uri, store).load(data_type=type(data)), saving


def test_dataset_comes_back(tmp_path: Path, store: Any) -> None:
    back, saved = keep(DatasetMaterializer, a_dataset(), tmp_path, store)
    pd.testing.assert_frame_equal(back.items, a_dataset().items)
    assert saved.extract_metadata(a_dataset())["kept"] == {"items": 2}


def test_windows_come_back(tmp_path: Path, store: Any) -> None:
    back, saved = keep(WindowsMaterializer, some_windows(), tmp_path, store)
    assert [list(history) for history in back.table["history"]] == [["a"], ["b", "a"]]
    assert back.fingerprint == some_windows().fingerprint
    assert saved.facts(some_windows())["rows"] == {"train": 1, "valid": 0, "test": 1}
    assert saved.facts(some_windows())["warm_share"] == {"train": 1.0, "valid": 0.0, "test": 0.0}


def test_catalog_comes_back(tmp_path: Path, store: Any) -> None:
    back, saved = keep(CatalogIndexMaterializer, a_catalog(), tmp_path, store)
    assert back.item_tokens == a_catalog().item_tokens
    assert saved.facts(a_catalog())["shared_titles"] == 2


def test_checkpoint_comes_back_as_the_same_files(tmp_path: Path, store: Any) -> None:
    checkpoint = a_checkpoint(tmp_path / "work")
    back, saved = keep(CheckpointMaterializer, checkpoint, tmp_path, store)
    assert back.verify() == checkpoint.verify()
    assert back.path != checkpoint.path
    assert saved.facts(checkpoint) == {"training": {"seconds": 3}}


def test_item_models_come_back(tmp_path: Path, store: Any) -> None:
    config = ItemModelsConfig(
        rivals=(SASRecConfig(layers=1, width=8, heads=1, feed_forward=8, epochs=1, history_items=4),), teacher="gru4rec"
    )
    models = fit_item_models(FitData([np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])], 5, [[0]], [1]), config)
    assert models.models.keys() == {"sasrec", "gru4rec"}  # rivals and teacher, nothing else
    back, saved = keep(ItemModelsMaterializer, models, tmp_path, store)
    for kind, model in models.models.items():
        ours, theirs = back.models[kind].recommend([[1, 2]], 5), model.recommend([[1, 2]], 5)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
    best = max(models.models, key=lambda kind: max(r["valid_ndcg@10"] for r in models.models[kind].curves))
    assert back.teacher("best") == best
    assert back.teacher("gru4rec") == "gru4rec"
    assert saved.pictures(models)["sasrec.csv"].startswith("epoch,train_loss")


def test_table_comes_back(tmp_path: Path, store: Any) -> None:
    table = pd.DataFrame({"row_id": [1, 2], "hit": [0.0, 1.0]})
    back, _ = keep(TableMaterializer, table, tmp_path, store)
    pd.testing.assert_frame_equal(back, table)


def test_equal_content_has_an_equal_hash(tmp_path: Path, store: Any) -> None:
    first = keep(DatasetMaterializer, a_dataset(), tmp_path, store)[1].compute_content_hash(None)
    again = keep(DatasetMaterializer, a_dataset(), tmp_path, store)[1].compute_content_hash(None)
    changed = a_dataset()
    changed.items.loc[0, "title"] = "Aliens"
    other = keep(DatasetMaterializer, changed, tmp_path, store)[1].compute_content_hash(None)
    assert first == again != other


@pytest.mark.parametrize("damage", ["altered", "half-written", "extra file"])
def test_damaged_artifacts_are_refused(damage: str, tmp_path: Path, store: Any) -> None:
    uri = tmp_path / "store" / "dataset"
    DatasetMaterializer(str(uri), store).save(a_dataset())
    file = uri / "data" / "items.parquet"
    if damage == "altered":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    elif damage == "half-written":
        (uri / "data" / MANIFEST).unlink()
    else:
        (uri / "data" / "more.txt").write_text("?", encoding="utf-8")
    with pytest.raises(RereError, match=r"items\.parquet|half-written|more\.txt"):
        DatasetMaterializer(str(uri), store).load(data_type=Dataset)


def test_a_model_trained_again_to_the_same_weights_is_the_same_whatever_the_clock_said(
    tmp_path: Path, store: Any
) -> None:
    first, again, other = (a_checkpoint(tmp_path / name) for name in ("first", "again", "other"))
    (again.path / "training.json").write_text('{"seconds": 99}', encoding="utf-8")
    (again.path / "curves.jsonl").write_text('{"update": 1, "loss": 2.5, "tokens_per_second": 7}\n', encoding="utf-8")
    (again.path / "config.json").write_text('{"transformers_version": "6.0", "model_type": "llama"}', encoding="utf-8")
    (other.path / "model.safetensors").write_bytes(b"other weights")
    seal(again.path)
    seal(other.path)
    materializer = CheckpointMaterializer(uri=str(tmp_path / "store" / "a"), artifact_store=store)
    assert first.sums() != again.sums()
    assert first.identity() == again.identity() != other.identity()
    assert materializer.compute_content_hash(first) == materializer.compute_content_hash(again)
    assert materializer.compute_content_hash(first) != materializer.compute_content_hash(other)
    (again.path / "curves.jsonl").write_text('{"update": 1, "loss": 2.6}\n', encoding="utf-8")
    assert materializer.compute_content_hash(first) != materializer.compute_content_hash(again)  # the report shows it


def test_an_altered_checkpoint_is_not_stored(tmp_path: Path, store: Any) -> None:
    checkpoint = a_checkpoint(tmp_path / "work")
    (checkpoint.path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(RereError, match=r"model\.safetensors"):
        CheckpointMaterializer(str(tmp_path / "store" / "c"), store).save(checkpoint)


def test_a_remote_store_is_asked_for_folders_by_its_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Remote:
        asked: list[str] = []  # noqa: RUF012

        def makedirs(self, path: str) -> None:
            self.asked.append(path)

    copied: list[str] = []
    monkeypatch.setattr("materializers.directory.fileio.copy", lambda source, target, overwrite: copied.append(target))
    remote: Any = Remote()
    materializer = TableMaterializer("s3://bucket/artifact", remote)
    materializer.save(pd.DataFrame({"a": [1]}))
    assert set(Remote.asked) == {"s3://bucket/artifact/data"}
    assert all(target.startswith("s3://bucket/artifact/data/") for target in copied)


def test_a_model_is_summed_up_once_where_it_enters_however_many_steps_take_it(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store" / "model")
    CheckpointMaterializer(uri, store).save(a_checkpoint(tmp_path / "work"))
    weights = tmp_path / "store" / "model" / "checkpoint" / "model.safetensors"
    os.utime(weights, (1, 1))  # a file that was written just now is read again, for it may still change
    read: list[Path] = []
    sum_of = manifest.sha256

    def counted(path: Path) -> str:
        read.append(path)
        return sum_of(path)

    monkeypatch.setattr(manifest, "sha256", counted)
    for _ in range(4):  # steps
        model = CheckpointMaterializer(uri, store).load(data_type=Checkpoint)
        model.verify()
        model.sums()
    assert [path.name for path in read].count("model.safetensors") == 1
    weights.write_bytes(b"WEIGHTS")  # as long as before
    with pytest.raises(RereError, match=r"other bytes.*`rere mend "):
        CheckpointMaterializer(uri, store).load(data_type=Checkpoint)


@pytest.mark.parametrize("kind", [Dataset, Checkpoint])
def test_an_artifact_that_is_gone_names_its_address_and_a_command(kind: type, tmp_path: Path, store: Any) -> None:
    materializer = {Dataset: DatasetMaterializer, Checkpoint: CheckpointMaterializer}[kind]
    uri = str(tmp_path / "store" / "it's gone")
    with pytest.raises(RereError, match=r"finished artifact at .*it's gone/.*nothing there.*`rere mend '.*gone'`"):
        materializer(uri, store).load(data_type=kind)
