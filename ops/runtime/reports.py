"""Pages for people, as files: `reports/` in the project, or `$RERE_REPORTS_DIR`.

Each run keeps its own, in `runs/NAME`; pages above them lead to the newest run's (`latest.html` to its report).
"""

from __future__ import annotations

import os
from pathlib import Path

from zenml import get_step_context

from rere.artifacts.manifest import writing
from rere.project import file_name, project_root


def write_report(
    html: str, name: str, link: str | None = None, run: str | None = None, *, suffix: str = "html"
) -> Path:
    """Write a self-contained page and lead to it; returns where it lies.

    Args:
        suffix: what the file's name ends in, of text that is no page.
        link: what the page that leads to it is called; None: as the page itself.
        run: the run's name; None for the one that the running step is part of.
    """
    top = Path(os.environ.get("RERE_REPORTS_DIR") or project_root() / "reports")
    directory = top / "runs" / file_name(run or _running())
    path, leads = directory / f"{name}.{suffix}", top / f"{link or name}.{suffix}"
    with writing(top):
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
        fresh = directory / f".{name}.link"
        fresh.unlink(missing_ok=True)
        try:
            fresh.symlink_to(path.relative_to(top))  # what it says counts from where it is put
        except OSError:  # a file system without links
            fresh.write_text(html, encoding="utf-8")
        fresh.replace(leads)
    return path


def _running() -> str:
    try:
        return get_step_context().pipeline_run.name
    except RuntimeError:  # outside a run
        return "none"
