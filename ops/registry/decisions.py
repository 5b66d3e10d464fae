"""The records of judgement and promotion, kept as sealed JSON."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from materializers.records import RecordMaterializer
from rere.evaluation.gate import Verdict


class Decision(BaseModel):
    """The gate's verdict on a model, named by its content; `champion` is the version it was held against."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    content: str
    champion: str | None
    is_champion: bool
    value: float | None = None  # the gate's metric on the test rows
    notes: tuple[str, ...] = ()

    @property
    def promotes(self) -> bool:
        """A champion stays one, whatever the gate asks of newcomers today."""
        return self.verdict.passed or self.is_champion


class Promotion(BaseModel):
    """A registered version and the aliases that it holds now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    aliases: tuple[str, ...]
    tracking_uri: str
    waits: str = ""  # why a model that passed the gate isn't champion
    example: tuple[str, ...] = ()  # a history to ask it with, item ids


class DecisionMaterializer(RecordMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Decision,)


class PromotionMaterializer(RecordMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Promotion,)
