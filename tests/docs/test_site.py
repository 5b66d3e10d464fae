"""What the site's strict build can't see: links of pages outside it, and pages that the tree and the reference lack."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands.main import cli
from tests.docs.blocks import ROOT, blocks_of

OUTSIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PACKAGES = sorted(path.parent.name for path in (ROOT / "rere").glob("*/__init__.py"))


def anchors(page: Path) -> set[str]:
    """Of a Markdown page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*OUTSIDE, *SITE], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A page of the site can't link to what the site lacks: the strict build refuses that, much later."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        beside_the_site = page in SITE and not target.resolve().is_relative_to(ROOT / "docs")
        generated = target.parent.name == "reference"  # its anchors come from docstrings
        if beside_the_site or not target.exists() or (anchor and not generated and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_tree_has_every_directory() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    top = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists() and path.name != "tests"}
    shown = set(re.findall(r"^(\w+)/", tree, re.M)) | set(re.findall(r"^\w.*? (\w+)/ ", tree, re.M))
    assert top - shown == set()
    assert shown >= {"configs", "infra"}
    assert set(PACKAGES) - set(re.findall(r"^  (\w+)/ ", tree, re.M)) == set()


def test_the_reference_has_every_package() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: rere\.(\w+)", pages, re.M))
    assert set(PACKAGES) - shown == set()


def test_the_tutorial_up_to_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script, its configuration, `rere check` and `rere validate`; the run is what tests/pipeline runs."""
    tutorial = ROOT / "docs" / "tutorial.md"
    blocks = {block.language: block.text for block in blocks_of(tutorial, tutorial.read_text(encoding="utf-8"))}
    for name in (".rere", "configs"):
        (tmp_path / name).mkdir()
    (tmp_path / "configs" / "shop.yaml").write_text(blocks["yaml"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    exec(compile(blocks["python"], "make_shop.py", "exec"), {"__name__": "__main__"})
    for command in ("check", "validate"):
        done = CliRunner().invoke(cli, [command, "-c", "configs/shop.yaml"])
        assert done.exit_code == 0, done.output
    assert "Prediction rows: passed" in done.output
    (tmp_path / "configs" / "shop.yaml").write_text(blocks["yaml"].replace("user_column", "user_colum"), "utf-8")
    done = CliRunner().invoke(cli, ["check", "-c", "configs/shop.yaml"])
    assert done.exit_code == 1
    assert "did you mean `user_column`?" in done.output  # as the tutorial says
