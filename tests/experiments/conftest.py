"""The small world as a data set of the experiments."""

from __future__ import annotations

import pandas as pd
import pytest

from experiments.worlds import ExperimentData
from rere.data.dataset import Dataset, IngestReport, Windows


@pytest.fixture
def world(world_items: pd.DataFrame, world_windows: Windows) -> ExperimentData:
    rows = world_windows.table
    events = pd.DataFrame(
        {
            "user_id": rows["user_id"],
            "item_id": rows["target"],
            "timestamp": rows["timestamp"],
            "period": rows["period"],
        }
    )
    facts = IngestReport(source="test", source_sha256={}, read={}, dropped={}, kept={})
    return ExperimentData("small", Dataset(events, world_items, facts), world_windows)
