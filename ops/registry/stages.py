"""A model on its way to users: judged, then reviewed, then promoted. Each stage is the one before, and what it adds.

Kept as sealed JSON; the dashboard shows the pages.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from materializers.records import RecordMaterializer
from ops.registry.tags import VersionTags
from rere.config.promotion import GateConfig
from rere.config.served_model import LANGUAGE_MODEL
from rere.evaluation.verdict import Verdict


class Judged(BaseModel):
    """What the gate knows of a model, and its verdict.

    model: the registered model's name
    content: what the version is known by, see `servable.content_of`
    serves: what answers, see `Prior.serves`
    champion: the version that it was held against; None without one
    lost_champion: the champion by the log, which was deleted in MLflow; then a person decides
    lost_anchor: the best champion on record, likewise
    is_champion: it is that very version
    value: `metric` on the test rows
    newest: of its training interactions, seconds since 1970; None for data without times
    data: source file -> SHA-256
    windows: the prediction rows' fingerprint
    settings: the run's, by stage
    submitted: the commit of the code where the run was submitted, and whether it was dirty; empty without git
    base: the version that a retraining went on from
    gate: the settings that it was judged by
    laxer_than_policy: what the run's gate asks less of than the registered model's policy; then a person decides
    beats_anchor: it would be the best champion on record, see `ops/registry/anchor.py`
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    content: str
    serves: str = LANGUAGE_MODEL
    champion: str | None
    is_champion: bool
    verdict: Verdict
    metric: str
    value: float
    newest: int | None
    data: dict[str, str]
    windows: str
    settings: dict[str, Any]
    submitted: dict[str, Any] = {}
    base: str | None = None
    gate: GateConfig = GateConfig()
    laxer_than_policy: tuple[str, ...] = ()
    beats_anchor: bool = False
    lost_champion: str | None = None
    lost_anchor: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def promotes(self) -> bool:
        """By the gate alone. A champion stays one, whatever the gate asks of newcomers today."""
        by_itself = not self.laxer_than_policy and self.lost_champion is None and self.lost_anchor is None
        return (self.verdict.passed and by_itself) or self.is_champion

    @property
    def seeds(self) -> dict[str, int]:
        """Of the stages that ran and have one."""
        return {stage: chosen["seed"] for stage, chosen in self.settings.items() if chosen and "seed" in chosen}

    def tags(self, run: str) -> VersionTags:
        """What its version is known by in lists, and what a reviewer's approval is held against.

        Args:
            run: the MLflow run that holds the review.
        """
        return VersionTags(
            fingerprint=self.content,
            serves=self.serves,
            gate="passed" if self.verdict.passed else "failed",
            judged_against=self.champion or "",
            metric=self.metric,
            value=round(self.value, 4),
            newest_interaction=self.newest,
            review_run=run,
            windows=self.windows,
            beats_anchor="yes" if self.beats_anchor else "no",
        )


VERSION = "⟨version⟩"  # stands in a review's page for the number that only registration gives


class Reviewed(Judged):
    """With the page for the person who decides; complete once it names the version, see `page_of`."""

    page: str

    def page_of(self, version: str) -> str:
        """The page with the version's own number in its title and commands."""
        return self.page.replace(VERSION, version)


class Promoted(Reviewed):
    """Registered: the version, the aliases that it holds now, and how to ask it."""

    version: str
    aliases: tuple[str, ...]
    tracking_uri: str
    waits: str = ""  # why a model that passed the gate isn't champion
    example: tuple[str, ...] = ()  # a history to ask it with, item ids


class StageMaterializer(RecordMaterializer):
    """JSON, and the review's page once it is complete."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Judged, Reviewed, Promoted)

    def pictures(self, data: BaseModel) -> dict[str, str]:
        page = {"review.html": data.page} if isinstance(data, Promoted) else {}
        return {**page, "record.json": data.model_dump_json(indent=1, exclude={"page"})}
