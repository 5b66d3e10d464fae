"""Networks fitted beside each other are those fitted one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rere.config.recommenders import ItemModelsConfig
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData
from rere.recommenders.registry import model_type
from rere.recommenders.side_by_side import worker
from rere.runtime import in_processes

SEQUENCES = [np.arange(first, first + 6) % 12 for first in range(12)]
DATA = FitData(SEQUENCES, 12, [[0, 1], [], [7, 8]], [2, 5, 9], titles=[f"the {n}th" for n in range(12)])
NETWORK = {"width": 8, "epochs": 2, "history_items": 4}
RIVALS = [{"type": "gru4rec", **NETWORK}, {"type": "caser", **NETWORK, "vertical": 1, "horizontal": 2}, "co_occurrence"]
ENSEMBLE = {"type": "ensemble", "members": ["gru4rec", "co_occurrence"]}
HISTORIES = [[0, 1, 2], [3]]


def config_of(processes: int) -> ItemModelsConfig:
    launcher = {"type": "local", "processes": processes}
    return ItemModelsConfig.model_validate({"rivals": [*RIVALS, ENSEMBLE], "launcher": launcher})


def test_the_data_come_back_from_disk(tmp_path: Path) -> None:
    for data in (DATA, FitData([], 3, [], [])):
        data.save(tmp_path / str(data.items))
        back = FitData.load(tmp_path / str(data.items))
        assert [row.tolist() for row in back.sequences] == [list(row) for row in data.sequences]
        assert back.valid_histories == data.valid_histories
        assert (back.items, list(back.valid_targets)) == (data.items, list(data.valid_targets))


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    alone = fit_item_models(DATA, config_of(1), tmp_path / "alone").models
    assert not (tmp_path / "alone").exists()  # nothing is started for one
    found = fit_item_models(DATA, config_of(2), tmp_path / "work").models
    assert list(found) == list(alone) == ["gru4rec", "caser", "co_occurrence", "ensemble"]
    for kind, model in found.items():
        np.testing.assert_allclose(model.log_probs(HISTORIES), alone[kind].log_probs(HISTORIES), atol=1e-5)


def test_what_a_killed_run_finished_is_kept(tmp_path: Path) -> None:
    models = {one.type: one.model_dump(mode="json") for one in config_of(2).rivals if one.type in ("gru4rec", "caser")}
    spec = {"models": models, "without": {}, "work": str(tmp_path)}
    DATA.save(in_processes.inputs_of(spec) / "data")
    worker(spec, lambda record, update: None)
    first = {kind: model_type(kind).load(tmp_path / kind).content() for kind in models}
    for mark in tmp_path.glob("*.taken"):
        mark.unlink()
    kept = tmp_path / "gru4rec" / "manifest.json"
    written = kept.stat().st_mtime_ns
    (tmp_path / "caser" / "manifest.json").unlink()  # as if killed while writing
    worker(spec, lambda record, update: None)
    assert kept.stat().st_mtime_ns == written
    assert {kind: model_type(kind).load(tmp_path / kind).content() for kind in models} == first
