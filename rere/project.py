"""The project that a command belongs to: a directory with the pipelines' code, or with `.rere` (stack, caches, edits).

What the project keeps is kept in its `.rere`, wherever a command is started. Paths in a configuration file are relative
to the project's root; paths on a command line to the current directory, as everywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from pathlib import Path
from urllib.parse import quote

from rere.errors import RereError

VARIABLE = "RERE_PROJECT"
MARKS = ("rere_pipeline.py", ".rere")
ENVIRONMENT = Path(".rere", "env.sh")  # written by infra/local_stack.py
LONGEST = 150  # characters of a file's name that are taken from something's name; systems allow 255
CODE = Path(__file__).resolve().parents[1]


def project_root() -> Path:
    """`$RERE_PROJECT`; else the nearest directory from the current one upwards that is a project; else this code's.

    Raises:
        RereError: none of them is a project.
    """
    if named := os.environ.get(VARIABLE):
        root = Path(named).resolve()
        if not _is_project(root):
            raise RereError(
                f"a project in {VARIABLE} or --project: a directory with {' or '.join(MARKS)}",
                f"{root}, which {'has neither' if root.is_dir() else 'is no directory'}",
                "name the project's root; after moving a project, run `make stack` there and activate it again",
            )
        return root
    here = Path.cwd()
    for directory in (here, *here.parents, CODE):
        if _is_project(directory):
            return directory
    raise RereError(
        f"a project (a directory with {' or '.join(MARKS)}) in the current directory or above it",
        f"none from {here} upwards",
        "go to the project, or name it: `rere --project DIRECTORY ...`",
    )


def file_name(name: str) -> str:
    """What a file for something of this name (a model, say) is called: in its directory whatever the name holds.

    Different names give different files.
    """
    plain = quote(name, safe=" ")
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return plain


def in_project() -> contextlib.AbstractContextManager[None]:
    """Within it the project's root is the current directory, from which the paths of a configuration count."""
    return contextlib.chdir(project_root())


def use_stack() -> Path:
    """Take over what `make stack` wrote: where ZenML and MLflow keep their data. Variables that are set stay.

    Call it before either is imported. Returns the project's root.

    Raises:
        RereError: no project, or one without a stack while no variable names an MLflow registry.
    """
    root = project_root()
    for name, value in stack_environment(root).items():
        os.environ.setdefault(name, value)
    if "MLFLOW_TRACKING_URI" not in os.environ:
        raise RereError(
            f"a stack in the project {root}",
            f"no {ENVIRONMENT} there, and no MLFLOW_TRACKING_URI either",
            "run `make stack` in the project, or name another one: `rere --project DIRECTORY ...`",
        )
    return root


def use_store() -> Path:
    """Take over the stack where there is one, else keep ZenML's store in the project: for commands that need no stack.

    ZenML opens, and makes, a store when it is imported. Any other store than the project's would be in the user's home,
    and ZenML would then deactivate the project's stack. Returns the project's root.

    Raises:
        RereError: no project.
    """
    root = project_root()
    own = {"ZENML_CONFIG_PATH": str(root / ".rere" / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false"}
    for name, value in (stack_environment(root) or own).items():
        os.environ.setdefault(name, value)
    return root


def use_project(directory: Path) -> None:
    """Make this the project, whatever the environment says; RereError where it is none."""
    os.environ[VARIABLE] = str(directory.resolve())
    os.environ.update(stack_environment(project_root()))


def stack_environment(root: Path) -> dict[str, str]:
    """The variables in a project's `.rere/env.sh`; none where there is no such file."""
    path = root / ENVIRONMENT
    if not path.is_file():
        return {}
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def _is_project(directory: Path) -> bool:
    return any((directory / mark).exists() for mark in MARKS)
