"""What a data source is. A source is one file here and one line in the registry."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from rere.artifacts.manifest import fingerprint, sha256
from rere.config.data import SourceSettings
from rere.data.columns import require_file
from rere.data.raw import RawData


class Source(SourceSettings):
    """Settings of a source, and the source itself."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that are read, fetched where they have a URL; else they needn't be there. None of a hub's ids."""

    @abstractmethod
    def load(self) -> RawData:
        """Read it; raises RereError on anything that the reader can't vouch for."""

    def whereabouts(self) -> list[Path | str]:
        """What tells this source from others of its kind: files and directories, their URLs, or names on a hub."""
        return [value for _, value in self if isinstance(value, Path) or (isinstance(value, str) and "://" in value)]


def load_source(source: SourceSettings) -> RawData:
    """Read a source; raises RereError on anything that its reader can't vouch for."""
    return as_source(source).load()


def as_source(settings: SourceSettings) -> Source:
    """The source that settings are of: the registry has nothing else."""
    assert isinstance(settings, Source)
    return settings


def source_fingerprint(source: SourceSettings) -> str:
    """SHA-256 over the source's settings and the content of its files.

    A hub data set counts by its settings alone (id, configuration, split): its content isn't fetched for this.

    Raises:
        RereError: a file is missing.
    """
    sums = {str(path): sha256(require_file(path, "source")) for path in as_source(source).files()}
    return fingerprint({**sums, "settings": source.model_dump_json()})


def source_location(source: SourceSettings) -> str:
    """Where a source is: its kind, and its files and directories or its names on the hub.

    Files in the project are named from its root, which is the current directory of a pipeline; others in full.
    """
    return " ".join([source.type, *(_shown(value) for value in as_source(source).whereabouts())])


def _shown(value: Path | str) -> str:
    if isinstance(value, str):
        return value
    path = value.resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
