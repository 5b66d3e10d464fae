"""Source: a Hugging Face `datasets` id, or a local directory that `load_dataset` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rere.artifacts.manifest import sha256
from rere.config.data import HubDataset
from rere.data.columns import require_columns
from rere.data.raw import RawData, raw_from_tables
from rere.data.tables import PART_ROWS
from rere.errors import RereError


def files(source: HubDataset) -> list[Path]:
    """The files of local directories; none for hub ids."""
    roots = [Path(name) for name in dict.fromkeys([source.interactions, source.items])]
    return [path for root in roots if root.is_dir() for path in sorted(root.rglob("*")) if path.is_file()]


def load(source: HubDataset) -> RawData:
    """Load both splits and keep the named columns; the interactions come in parts from the library's mapped files.

    Raises:
        RereError: an unknown id, configuration or split, no way to the hub, a missing column, a wrong type.
    """
    wanted = [source.user_column, source.item_column, source.time_column]
    events = _read(source.interactions, source.interactions_config, source.interactions_split, wanted)
    titled = [source.item_column, source.title_column]
    catalogue = pd.concat(_read(source.items, source.items_config, source.items_split, titled), ignore_index=True)
    sums = {str(path): sha256(path) for path in files(source)}
    return raw_from_tables(source, f"datasets {source.interactions}", events, catalogue, sums)


def _read(name: str, config: str | None, split: str, columns: list[str]) -> Iterator[pd.DataFrame]:
    from datasets import load_dataset
    from huggingface_hub.errors import HfHubHTTPError

    try:
        dataset = load_dataset(name, config, split=split)
    except (OSError, ValueError, HfHubHTTPError) as error:
        # An unknown id, no network, an unknown configuration or split, nothing to read in a directory.
        raise RereError(
            f"a data set {name!r} (configuration {config}, split {split!r}) on the Hugging Face hub or as a directory",
            f"{type(error).__name__}: {error}",
            "check the id, the split and the network (HF_HUB_OFFLINE must be unset), or give a local directory",
        ) from error
    place = f"the data set {name!r}, split {split!r}"
    require_columns(dataset.column_names, columns, place, "name your columns in the `source` setting (…_column)")
    return dataset.select_columns(columns).to_pandas(batch_size=PART_ROWS, batched=True)
