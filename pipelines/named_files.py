"""Whether the files and directories that a run's settings name are there, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not in its __all__
from pydantic import BaseModel

from pipelines.settings import RunSettings
from rere.config.backbone import HubModel
from rere.config.catalog import SentenceEmbedding
from rere.data.sources.base import as_source
from rere.data.sources.hub import HubDataset
from rere.errors import RereError

HUB_NAMES: dict[type, tuple[str, ...]] = {
    HubModel: ("id",),
    SentenceEmbedding: ("model",),
    HubDataset: ("interactions", "items"),
}  # or a directory


def missing_files(settings: Mapping[str, Any]) -> list[str]:
    """`setting: path` of all that settings name and isn't there. What a URL or a hub has isn't asked.

    Args:
        settings: settings models by the name of the pipeline's parameter.

    Raises:
        RereError: the data set that the source takes from an installed package isn't there.
    """
    given = {name: value for name, value in settings.items() if name in RunSettings.model_fields}
    if "data" in given and not (source := as_source(given["data"].source)).whereabouts():
        source.files()
    return [f"{name}: {path}" for name, path in _named(given, "") if not path.exists()]


def require_files(settings: Mapping[str, Any]) -> None:
    """RereError where something is missing; for runs that read it on this machine, see `missing_files`."""
    if missing := missing_files(settings):
        raise not_there(missing)


def not_there(missing: list[str]) -> RereError:
    """The error for what `missing_files` found."""
    return RereError(
        "files and directories where the settings say",
        f"nothing at {', '.join(missing)}",
        "correct the paths, which count from the project's root, or put there what is missing",
    )


def _named(value: Any, name: str) -> Iterator[tuple[str, Path]]:
    """(setting, path) of every path at any depth."""
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, BaseModel | Mapping):
        hub = HUB_NAMES.get(type(value), ())
        for key, one in value.items() if isinstance(value, Mapping) else value:
            yield from _named(Path(one) if key in hub and not _of_hub(one) else one, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _named(one, f"{name}.{number}")


def _of_hub(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
