"""Whatever is loaded is data: no artifact and no checkpoint can name code to run."""

from __future__ import annotations

import json
from pathlib import Path

from rere.models.checkpoint import Checkpoint
from tests.drills import victims
from tests.drills.processes import ended_by, kill_once_there, start


def test_nothing_that_a_run_loads_is_unpickled(world_place: Path, tuned: Checkpoint, tmp_path: Path) -> None:
    for work, name, pattern in (
        (victims.fine_tune, "sft", "checkpoints/*/trainer_state.json"),
        (victims.reinforce, "rl", "progress/manifest.json"),
    ):
        kill_once_there(start(work, world_place, tmp_path / name), tmp_path / name, pattern)
    assert not list((tmp_path / "rl").rglob("*.pt"))
    report = tmp_path / "report.json"
    assert ended_by(start(victims.watch_loading, world_place, tmp_path, report)) == 0
    seen = json.loads(report.read_text(encoding="utf-8"))
    assert any("Path" in name for name in seen["proof"])
    assert seen["found"] == []
