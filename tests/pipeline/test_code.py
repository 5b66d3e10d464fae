"""The cache key covers the code that a step reaches, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.runtime import cache_keys as code
from pipelines import caching


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "steps/__init__.py": "",
        "steps/one.py": "from rere.a import f\n\ndef step():\n    import rere.late\n",
        "rere/__init__.py": "",
        "rere/a.py": (
            "from rere import b\nimport json\nkind = OneOf('rere.registry:ALL')\n"
            "if TYPE_CHECKING:\n    from rere.other import T\nPAGE = 'page.html.j2'\n"
        ),
        "rere/templates/page.html.j2": '{% extends "base.html.j2" %}',
        "rere/templates/base.html.j2": "",
        "rere/templates/unused.html.j2": "",
        "rere/b.py": "",
        "rere/late.py": "",
        "rere/registry.py": "",
        "rere/other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(code, "ROOT", tmp_path)
    return tmp_path


def test_imports_are_followed_also_inside_functions_but_not_those_of_type_checkers(tree: Path) -> None:
    assert code.reachable_files("steps.one") == [
        "rere/__init__.py",
        "rere/a.py",
        "rere/b.py",
        "rere/late.py",
        "rere/registry.py",
        "rere/templates/base.html.j2",
        "rere/templates/page.html.j2",
        "steps/__init__.py",
        "steps/one.py",
    ]


def test_a_change_far_down_changes_the_fingerprint_and_an_unreached_one_does_not(tree: Path) -> None:
    before = code.code_fingerprint("steps.one")
    (tree / "rere" / "other.py").write_text("x = 1\n", encoding="utf-8")
    assert code.code_fingerprint("steps.one") == before
    (tree / "rere" / "b.py").write_text("x = 1\n", encoding="utf-8")
    assert code.code_fingerprint("steps.one") != before


def test_real_steps_reach_the_library() -> None:
    assert {"rere/training/sft/train.py", "rere/catalog/trie.py"} <= set(code.reachable_files("steps.sft"))
    assert "rere/training/rl/train.py" not in code.reachable_files("steps.sft")
    assert "rere/training/rl/train.py" in code.reachable_files("steps.rl")


def test_page_templates_count_as_code_of_what_names_them() -> None:
    assert "rere/reporting/templates/report.html.j2" in code.reachable_files("steps.report")
    assert "rere/reporting/templates/base.html.j2" in code.reachable_files("steps.report")
    assert "rere/data/templates/validation.html.j2" in code.reachable_files("steps.validate")
    assert not [file for file in code.reachable_files("steps.rl") if "/templates/" in file]


def test_a_rival_and_a_gates_description_leave_ingest_sft_and_rl_cached() -> None:
    for step in ("ingest", "sft", "rl"):
        reached = set(code.reachable_files(f"steps.{step}"))
        assert not reached & {
            "rere/recommenders/sequential/caser.py",
            "rere/config/promotion.py",
            "rere/config/recommenders.py",
        }
    item_models = code.reachable_files("steps.item_models", *caching.BY_NAME["item_models"])
    assert "rere/recommenders/sequential/caser.py" in item_models


def test_the_page_on_caching_is_true() -> None:
    page = (code.ROOT / "docs" / "caching.md").read_text(encoding="utf-8")
    assert page == caching.page(), "run: python -m pipelines.caching > docs/caching.md"
    assert all((code.ROOT / file).is_file() for file in caching.EDITS)
