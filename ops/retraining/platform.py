"""A retraining's settings on the platform that it runs on: one run configuration made of two."""

from __future__ import annotations

from pathlib import Path

import yaml

from rere.artifacts.manifest import writing
from rere.config.reading import read_yaml
from rere.errors import RereError
from rere.project import file_name, project_root


def placed(config: Path, platform: Path | None) -> Path:
    """The configuration with the platform's settings and steps, as a file below `.rere`; itself without a platform.

    Raises:
        RereError: both say something about the same key.
    """
    if platform is None:
        return config
    ours, theirs = read_yaml(config), read_yaml(platform.resolve())
    theirs.pop("parameters", None)
    if both := sorted(ours.keys() & theirs.keys()):
        raise RereError(
            f"one of {config} and {platform} to say each thing", f"{', '.join(both)} in both", "leave one out"
        )
    path = project_root() / ".rere" / "retrain" / f"{file_name(f'{config.stem} on {platform.stem}')}.yaml"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(ours | theirs, sort_keys=False), encoding="utf-8")
    return path
