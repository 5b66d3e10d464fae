"""Where the changes of a model's live catalogue are kept: the service and batch inference must mean the same file."""

from __future__ import annotations

from pathlib import Path

from steps.code import ROOT


def edits_file(model: str, given: Path | None) -> Path:
    """The file for a registered model. A relative path is below the project, wherever the command was started."""
    return ROOT / (given or Path(".rere") / "serving" / f"{Path(model).name}.json")
