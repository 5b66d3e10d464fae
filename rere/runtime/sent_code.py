"""The code that the nodes of a Ray cluster are sent: they run what the driver does, whatever is installed there."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from rere.errors import RereError
from rere.project import project_root

DISTRIBUTION = ("rere", "ops")  # packages of this project's wheel


def sent_code() -> list[str]:
    """Paths of packages and modules: this project's, and those at the project's root that this process has imported.

    The latter are a user's own, such as the module of a custom reward, and what it imports.
    """
    root: Path | None = None
    with suppress(RereError):  # none, so nothing lies there
        root = project_root().resolve()
    found = {name: _path_of(module) for name, module in list(sys.modules.items()) if "." not in name}
    return [
        str(path)
        for name, path in sorted(found.items())
        if path is not None and name != "__main__" and (name in DISTRIBUTION or path.parent == root)
    ]


def _path_of(module: ModuleType) -> Path | None:
    """A package's directory, a module's file; None for what is neither (built in, compiled, in several directories)."""
    paths = [*getattr(module, "__path__", ())] or [getattr(module, "__file__", None)]
    if len(paths) != 1 or paths[0] is None:
        return None
    path = Path(paths[0]).resolve()
    return path if path.is_dir() or path.suffix == ".py" else None
