"""The language models that a run trained, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from rere.models.checkpoint import Checkpoint
from rere.recommenders.labels import Label

STAGES = {"sft": "SFT", "preference": "preference", "rl": "RL"}  # stage -> what people call it
LABELS = {"sft": Label.SFT, "preference": Label.PREFERENCE, "rl": Label.RL}  # stage -> its model's


@dataclass(frozen=True)
class Trained:
    """By stage; None where a stage didn't run. RL, or else preference training, made what is served."""

    sft: Checkpoint
    preference: Checkpoint | None = None
    rl: Checkpoint | None = None

    @property
    def by_stage(self) -> dict[str, Checkpoint]:
        """Stage -> model, in the order in which they were trained."""
        models = {"sft": self.sft, "preference": self.preference, "rl": self.rl}
        return {stage: model for stage, model in models.items() if model is not None}

    @property
    def by_label(self) -> dict[str, Checkpoint]:
        """What results call it -> model."""
        return {LABELS[stage]: model for stage, model in self.by_stage.items()}

    @property
    def by_name(self) -> dict[str, Checkpoint]:
        """What people call its stage -> model."""
        return {STAGES[stage]: model for stage, model in self.by_stage.items()}

    @property
    def curves(self) -> dict[str, list[dict[str, float]]]:
        """Stage -> training records."""
        return {stage: model.curves() for stage, model in self.by_stage.items()}

    @property
    def served(self) -> tuple[Label, Checkpoint]:
        """The last one, which is judged by the gate and registered, with its label."""
        stage, model = list(self.by_stage.items())[-1]
        return LABELS[stage], model
