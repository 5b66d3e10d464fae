"""Tables as Arrow files (IPC, uncompressed): read by memory map, so pages come from the disk when they are touched.

Processes that read the same file share those pages.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from rere.data.histories import Histories


def write_arrow(table: pd.DataFrame, path: Path) -> None:
    """One record batch, so that every column is one stretch of the file; the index is left out."""
    views = [name for name, column in table.items() if isinstance(column.array, Histories)]
    content = pa.Table.from_pandas(table.drop(columns=views), preserve_index=False).combine_chunks()
    for name in views:
        content = content.add_column(table.columns.get_loc(name), str(name), pa.array(table[name].array))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as writer:
        writer.write_table(content)


def read_arrow(path: Path) -> pd.DataFrame:
    """The table; numbers and codes are read-only views of the mapped file, histories are `Histories`."""
    with pa.memory_map(str(path)) as file:
        content = pa.ipc.open_file(file).read_all()
    views = [field.name for field in content.schema if pa.types.is_large_list_view(field.type)]
    table = content.drop_columns(views).to_pandas(split_blocks=True)
    for n, field in enumerate(content.schema):
        if field.name in views:
            column = content.column(field.name)
            whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            table.insert(n, field.name, Histories.from_arrow(whole))
    return table
