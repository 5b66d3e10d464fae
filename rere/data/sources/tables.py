"""Source: a pair of tables: delimited text, JSON lines or Parquet, each a file or a directory of files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rere.artifacts.manifest import sha256
from rere.config.data import SourcePath, TableColumns
from rere.data.raw import RawData, raw_from_tables
from rere.data.sources.base import Source
from rere.data.tables import read_parts, table_files, wanted_of


class Tables(TableColumns, Source):
    """Interactions (user, item, time) and items (item, title): a file each, or a directory of files of one kind."""

    type: Literal["tables"] = "tables"
    interactions: SourcePath
    items: SourcePath

    def files(self) -> list[Path]:
        """Those of both tables; RereError where one is missing."""
        tables = ((self.interactions, "interactions"), (self.items, "items"))
        return [file.path for table, role in tables for file in table_files(table, role)]

    def load(self) -> RawData:
        """Read both tables, the interactions in parts.

        Raises:
            RereError: a missing file or column, a wrong type, an unreadable time, a damaged or ambiguous file.
        """
        events, catalogue = wanted_of(self)
        return raw_from_tables(
            self,
            f"tables {self.interactions.name}, {self.items.name}",
            read_parts(self.interactions, events),
            read_parts(self.items, catalogue),
            {str(path): sha256(path) for path in dict.fromkeys(self.files())},
        )
