"""Source: a pair of tables: delimited text, JSON lines or Parquet, each a file or a directory of files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rere.config.data import Place, TableColumns
from rere.data.raw import RawData, raw_from_tables
from rere.data.remote import here, sums_of
from rere.data.sources.base import Source
from rere.data.tables import read_parts, table_files, wanted_of


class Tables(TableColumns, Source):
    """Interactions (user, item, time) and items (item, title): a file each, or a directory of files of one kind."""

    type: Literal["tables"] = "tables"
    interactions: Place
    items: Place

    def files(self) -> list[Path]:
        """Those of both tables; RereError where one is missing."""
        return _files(here(self.interactions), here(self.items))

    def load(self) -> RawData:
        """Read both tables, the interactions in parts.

        Raises:
            RereError: a missing file or column, a wrong type, an unreadable time, a damaged or ambiguous file.
        """
        events, catalogue = wanted_of(self)
        interactions, items = here(self.interactions), here(self.items)
        return raw_from_tables(
            self,
            f"tables {interactions.name}, {items.name}",
            read_parts(interactions, events),
            read_parts(items, catalogue),
            sums_of(_files(interactions, items)),
        )


def _files(interactions: Path, items: Path) -> list[Path]:
    tables = ((interactions, "interactions"), (items, "items"))
    return [file.path for table, role in tables for file in table_files(table, role)]
