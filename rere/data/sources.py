"""The registry of data sources: a new source is one module with `load` and `files`, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rere.artifacts.manifest import fingerprint, sha256
from rere.config.base import Settings
from rere.config.data import AmazonReviews, HubDataset, MovieLens100K, Source, Tables, WindowFiles
from rere.data import amazon, hub, movielens, tables, window_files
from rere.data.columns import require_file
from rere.data.raw import RawData


class Loader(NamedTuple):
    load: Callable[[Any], RawData]
    files: Callable[[Any], list[Path]]


LOADERS: dict[type[Settings], Loader] = {
    MovieLens100K: Loader(movielens.load, movielens.files),
    Tables: Loader(tables.load, tables.files),
    AmazonReviews: Loader(amazon.load, amazon.files),
    WindowFiles: Loader(window_files.load, window_files.files),
    HubDataset: Loader(hub.load, hub.files),
}


def load_source(source: Source) -> RawData:
    """Read a source; raises RereError on anything that its reader can't vouch for."""
    return LOADERS[type(source)].load(source)


def source_fingerprint(source: Source) -> str:
    """SHA-256 over the source's settings and the content of its files.

    A hub data set counts by its settings alone (id, configuration, split): its content isn't fetched for this.

    Raises:
        RereError: a file is missing.
    """
    sums = {str(path): sha256(require_file(path, "source")) for path in LOADERS[type(source)].files(source)}
    return fingerprint({**sums, "settings": source.model_dump_json()})


def source_location(source: Source) -> str:
    """Where a source is: its kind, and its files and directories or its names on the hub.

    Files in the project are named from its root, which is the current directory of a pipeline; others in full.
    """
    told: list[object] = [value for _, value in source if isinstance(value, Path)]
    if isinstance(source, HubDataset):
        names = (source.interactions, source.items)
        told += [Path(name) if Path(name).is_dir() else name for name in names]
        told += [source.interactions_config, source.interactions_split, source.items_config, source.items_split]
    return " ".join([source.type, *(str(_place(value)) for value in told)])


def _place(value: object) -> object:
    if not isinstance(value, Path):
        return value
    path = value.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
