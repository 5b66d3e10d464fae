"""What a retraining goes on from: the champion's artifacts, looked up when the run begins.

Steps take this record instead of the artifacts: which these are isn't known when a schedule is compiled. It holds
their ids, and with those what the steps' cache keys must cover.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from zenml.client import Client


class BaseRecord(BaseModel):
    """version: the champion; None without one. The others: ids of artifact versions, None where there is none.

    collected: the rows that new ones are added to; None also where the source is to be read anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str | None = None
    language_model: str | None = None
    catalog: str | None = None
    collected: str | None = None

    def load(self, part: Literal["language_model", "catalog", "collected"]) -> Any:
        """The artifact itself, None where there is none; RereError where its files were altered."""
        artifact = getattr(self, part)
        return None if artifact is None else Client().get_artifact_version(artifact).load()
