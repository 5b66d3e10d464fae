"""Pages for people, as files: `reports/` in the project, or `$RERE_REPORTS_DIR`."""

from __future__ import annotations

import os
from pathlib import Path

from rere.artifacts.manifest import writing
from rere.project import project_root


def write_report(html: str, name: str) -> Path:
    """Write a self-contained page; returns where it lies."""
    path = Path(os.environ.get("RERE_REPORTS_DIR") or project_root() / "reports") / f"{name}.html"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    return path
