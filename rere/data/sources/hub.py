"""Source: data sets of the Hugging Face hub, or local directories laid out like them.

The `datasets` library only says which files a split has and fetches them. They are read here, by the same rules as
tables: the library's own CSV reader guesses types, and an id like 0108775015 becomes a number.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from rere.artifacts.manifest import sha256
from rere.artifacts.pins import not_pinned
from rere.config.data import TableColumns, TableFormat, at_home
from rere.data.raw import RawData, raw_from_tables
from rere.data.sources.base import Source
from rere.data.tables import File, read_files, wanted_of
from rere.errors import RereError
from rere.runtime.hub import from_hub

KINDS = {"csv": "text", "json": "json_lines", "parquet": "parquet"}  # by the name of the library's builder


class HubDataset(TableColumns, Source):
    """Data sets of the Hugging Face hub by id, or local directories laid out like them: CSV, JSON lines or Parquet."""

    type: Literal["hub"] = "hub"
    interactions: str
    interactions_config: str | None = None
    interactions_split: str = Field(default="train", description="a split's name, or several joined by +")
    interactions_revision: str = Field(default="main", description="a branch, a tag or, to stay the same, a commit")
    items: str
    items_config: str | None = None
    items_split: str = Field(default="train", description="as `interactions_split`")
    items_revision: str = Field(default="main", description="as `interactions_revision`")

    @field_validator("interactions", "items")
    @classmethod
    def _directory_at_home(cls, name: str) -> str:
        return str(at_home(Path(name))) if name.startswith("~") else name

    def files(self) -> list[Path]:
        """The files of local directories; none for hub ids."""
        roots = [Path(name) for name in dict.fromkeys([self.interactions, self.items])]
        return [path for root in roots if root.is_dir() for path in sorted(root.rglob("*")) if path.is_file()]

    def whereabouts(self) -> list[Path | str]:
        """See `Source`."""
        names = (self.interactions, self.items)
        told: list[Path | str] = [Path(name) if Path(name).is_dir() else name for name in names]
        settings = (self.interactions_config, self.interactions_split, self.items_config, self.items_split)
        return [*told, *map(str, settings)]

    def load(self) -> RawData:
        """Find both splits and keep the named columns; the interactions come in parts.

        Raises:
            RereError: an unknown id, configuration or split, no way to the hub, files of another kind; as for tables.
        """
        events, catalogue = wanted_of(self)
        events_files, events_format = split_files(
            self.interactions,
            self.interactions_config,
            self.interactions_split,
            self.interactions_revision,
            self.interactions_format,
        )
        items_files, items_format = split_files(
            self.items, self.items_config, self.items_split, self.items_revision, self.items_format
        )
        paths = [*self.files(), *(file.path for file in (*events_files, *items_files))]
        raw = raw_from_tables(
            self,
            f"datasets {self.interactions}",
            read_files(events_files, self.interactions, events._replace(format=events_format)),
            read_files(items_files, self.items, catalogue._replace(format=items_format)),
            {str(path): sha256(path) for path in dict.fromkeys(paths)},
        )
        data_sets = ((self.interactions, self.interactions_revision), (self.items, self.items_revision))
        if moving := not_pinned(data_sets):
            raw.noticed["data sets of the hub that are not pinned to a commit"] = len(moving)
            logging.getLogger(__name__).warning(
                "Not pinned, and may be another tomorrow: %s. "
                "Give a commit as `interactions_revision`, `items_revision`.",
                ", ".join(moving),
            )
        return raw


def split_files(
    name: str, config: str | None, split: str, revision: str, format: TableFormat
) -> tuple[list[File], TableFormat]:
    """The files of a split, fetched where they are not here, and how to read them."""
    from datasets import DownloadManager, load_dataset_builder
    from huggingface_hub.errors import HfHubHTTPError

    expected = f"a data set {name!r} (configuration {config}, split {split!r}) on the hub or as a directory"
    try:
        pinned = None if Path(name).is_dir() else revision
        builder = from_hub(lambda: load_dataset_builder(name, config, revision=pinned), name)
        splits = {str(key): list(paths) for key, paths in (builder.config.data_files or {}).items()}
        names = [part.strip() for part in split.split("+")]
        if not set(names) <= set(splits):
            raise RereError(expected, f"the splits {', '.join(splits)}", "name one of them, or several joined by +")
        paths = [path for part in names for path in splits[part]]
        found = from_hub(lambda: DownloadManager().download(paths), name)
    except (OSError, ValueError, RuntimeError, LookupError, HfHubHTTPError) as error:
        # An unknown id, no network, an unknown configuration, nothing to read in a directory, code in a data set.
        raise RereError(
            expected,
            f"{type(error).__name__}: {error}",
            "check the id, the split and the network (HF_HUB_OFFLINE must be unset), or give a local directory",
        ) from error
    kind = KINDS.get(builder.name)
    if kind is None:
        raise RereError(
            f"files of CSV, JSON lines or Parquet in {name!r}", f"the format {builder.name!r}", "convert the data set"
        )
    given: dict[str, Any] = {"type": kind} if format.type == "by_name" else {}
    if kind == "text":  # what the data set's own card says
        given |= {"delimiter": format.delimiter or builder.config.sep}
        given |= {"columns": tuple(builder.config.names)} if builder.config.names and not format.columns else {}
    return [File(Path(path), {}) for path in found], format.model_copy(update=given)
