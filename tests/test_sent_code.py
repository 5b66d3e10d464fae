"""What the nodes of a Ray cluster are sent."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import rere
from rere.runtime.sent_code import sent_code


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a module, a package and, in its virtual environment, another's module."""
    (tmp_path / ".rere").mkdir()
    for name in ("sent_module.py", "sent_package/__init__.py", "sent_package/part.py", ".venv/sent_other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    for place in (tmp_path, tmp_path / ".venv"):
        monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_this_package_and_what_was_imported_from_the_project(project: Path) -> None:
    before = sent_code()
    assert str(Path(rere.__file__).parent) in before
    assert [path for path in before if project in Path(path).parents] == []
    for name in ("sent_module", "sent_package.part", "sent_other", "json"):
        importlib.import_module(name)
    own = {str(project / "sent_module.py"), str(project / "sent_package")}
    assert set(sent_code()) - set(before) == own


def test_without_a_project_this_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))  # which is none
    assert {Path(path).name for path in sent_code()} <= {"rere", "ops"}
