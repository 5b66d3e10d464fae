"""`rere check`: everything that can be known without reading data, the backbone too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from commands.main import cli

TABLES = "data: {source: {type: tables, interactions: events.csv, items: items.csv}}"
CODES = "catalog: {code: {type: file, path: codes.json}}"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".rere").mkdir()
    (tmp_path / "model").mkdir()
    for name in ("events.csv", "items.csv"):
        (tmp_path / name).touch()
    monkeypatch.setattr("pipelines.devices.stays_here", lambda: True)  # the stack's orchestrator, in the registry
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    return tmp_path


def check(project: Path, parameters: str, more: str = "") -> tuple[int, str]:
    (project / "run.yaml").write_text(f"parameters: {{{TABLES}, {parameters}}}\n{more}", encoding="utf-8")
    done = CliRunner().invoke(cli, ["check", "-c", str(project / "run.yaml")], env=dict(os.environ))
    return done.exit_code, done.output


def test_sound_settings_read_no_data(project: Path) -> None:
    (project / "codes.json").touch()
    status, said = check(project, CODES)
    assert (status, "the settings are sound" in said) == (0, True), said


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ("catalog: {backbone: {type: directory, path: model}}", "", "no config.json"),
        ("catalog: {backbone: {type: directory, path: nowhere}}", "", "catalog.backbone.path: nowhere"),
        ("catalog: {backbone: {type: gguf, path: no.gguf}}", "", "catalog.backbone.path: no.gguf"),
        ("catalog: {backbone: {type: hub, id: ./nowhere}}", "", "catalog.backbone.id: nowhere"),
        (CODES, "", "catalog.code.path: codes.json"),
        (
            "catalog: {code: {type: semantic, embedding: {type: sentence_transformer, model: /no/vectors}}}",
            "",
            "catalog.code.embedding.model: /no/vectors",
        ),
        ("sft: {adaptation: {type: lora, targets: [nonsense]}}", "", "LoRA targets that Qwen2ForCausalLM has"),
        ("rl: {adaptation: {type: lora, targets: [nonsense]}}", "", "LoRA targets that Qwen2ForCausalLM has"),
        ("rl: {seed: 1}", "steps: {inges: {enable_cache: false}}", "inges (did you mean `ingest`?)"),
        ("rl: {rewards: [{type: custom, path: 'no.such:reward'}]}", "", "No module named 'no'"),
    ],
)
def test_what_is_wrong_is_one_message(project: Path, parameters: str, more: str, message: str) -> None:
    status, said = check(project, parameters, more)
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert (status, len(errors), "Traceback" in said) == (1, 1, False), said
    assert message in said


def test_all_files_of_the_source_that_are_missing_are_named(project: Path) -> None:
    for name in ("events.csv", "items.csv"):
        (project / name).unlink()
    status, said = check(project, CODES)
    assert status == 1
    assert "data.source.interactions: events.csv, data.source.items: items.csv, catalog.code.path: codes.json" in said


def test_steps_that_run_elsewhere_may_have_files_that_this_machine_lacks(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.devices.stays_here", lambda: False)
    status, said = check(project, CODES)
    assert (status, "Not on this machine, and needed where the steps run: catalog.code.path: codes.json." in said) == (
        0,
        True,
    ), said


def test_too_few_gpus(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    status, said = check(project, "evaluation: {launcher: {type: local, processes: 2}}")
    assert (status, "Expected 2 GPUs, one per process, for `evaluation.launcher`; got 1" in said) == (1, True), said
