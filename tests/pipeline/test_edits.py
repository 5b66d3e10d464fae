"""The service and batch inference mean the same file of changes, wherever they are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.registry.edits import batch_edits, default_edits
from rere.errors import RereError
from rere.serving.config import BatchConfig
from rere.serving.edits_log import Change, EditsLog
from rere.serving.live_catalog import CatalogEdits


def test_the_file_is_the_projects_wherever_a_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for directory in (project / ".rere", elsewhere):
        directory.mkdir(parents=True)
    monkeypatch.setenv("RERE_PROJECT", str(project))
    monkeypatch.chdir(elsewhere)
    config = BatchConfig(model_name="m")
    assert batch_edits(config) == CatalogEdits()
    log = EditsLog(default_edits("m"))
    with log.alone():
        log.append(Change.now(removed=["x"]))
    assert log.path == project / ".rere" / "serving" / "m.json"
    assert batch_edits(config).removed == {"x"}  # without a setting, as the service has it
    named = config.model_copy(update={"edits_file": Path(".rere/serving/m.json")})
    assert batch_edits(named).removed == {"x"}
    with pytest.raises(RereError, match="no such file"):
        batch_edits(config.model_copy(update={"edits_file": Path("wrong.json")}))
