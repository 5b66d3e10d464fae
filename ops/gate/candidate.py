"""What the gate judges: the model that would be served, with the data that it was trained and is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ops.registry import servable
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.served_model import LANGUAGE_MODEL
from rere.data.dataset import Dataset, Windows
from rere.evaluation.footprint import mebibytes
from rere.models.checkpoint import Checkpoint
from rere.recommenders.prior import Prior
from rere.recommenders.trained import STAGES


@dataclass(frozen=True)
class Candidate:
    """`model` is None for an item model alone, which `prior` holds."""

    model: Checkpoint | None
    prior: Prior
    catalog: CatalogIndex
    dataset: Dataset
    windows: Windows
    evaluation: EvaluationConfig

    @property
    def serving(self) -> dict[str, Any]:
        """See `servable.serving_settings`."""
        return servable.serving_settings(self.windows, self.evaluation)

    def content(self) -> str:
        """See `servable.content_of`."""
        return servable.content_of(self.model, self.catalog, self.prior, self.serving)

    def mebibytes(self) -> float:
        """Size of its files."""
        return self.prior.mebibytes() if self.model is None else mebibytes(self.model.path)

    @property
    def serves(self) -> str:
        """What would answer, see `Prior.serves_with`."""
        made_by = LANGUAGE_MODEL if self.model is None else self.model.facts().get("stage", LANGUAGE_MODEL)
        return self.prior.serves_with(made_by)

    def notes(self) -> list[str]:
        """What whoever decides must know of it before all figures."""
        notes = [_item_model(self.prior)] if self.model is None else _kept_start(self.model)
        return notes if self.prior.boost is None else [*notes, _boost(self.prior.boost)]


def _item_model(prior: Prior) -> str:
    return (
        f"What is judged, and would be served, is the item model {prior.serves} alone, as `serving.candidate` asks: it "
        "reads no titles, so items that are added while serving have only their exposure."
    )


def _boost(factor: float) -> str:
    return (
        "What is judged, and would be served, ranks items without training interactions by their titles, and their "
        f"probability counts {factor:g} times."
    )


def _kept_start(model: Checkpoint) -> list[str]:
    """Says so when RL, or preference training, ended where it began."""
    facts = model.facts()
    if facts.get("best_update") != 0 or facts["settings"].get("keep", "best") != "best":
        return []
    return [
        f"No {STAGES[facts['stage']]} update beat the model that it started from on validation: the weights are that "
        "model's, and so are its rows."
    ]
