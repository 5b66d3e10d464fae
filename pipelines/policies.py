"""What is trained on from the fine-tuned model: by preference, by RL, or by one after the other; to reason, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.settings import RunSettings
from steps.preference import prefer
from steps.reasoning import reason
from steps.rl import reinforce


@dataclass(frozen=True)
class Policies:
    """The artifacts; None where a step doesn't run."""

    preference_model: Any
    rl_model: Any
    reasoning_model: Any  # is judged, and not served

    @property
    def served(self) -> Any:
        """The language model that the gate judges, and that is registered."""
        return self.preference_model if self.rl_model is None else self.rl_model


def train_policies(
    *,
    sft_model: Any,
    windows: Any,
    catalog: Any,
    teacher: Any,
    rl_sha256: Any,
    model_commits: Any,
    given: RunSettings,
) -> Policies:
    """The steps that `preference`, `rl` and `reasoning` ask for."""
    preference_model, rl_model, reasoning_model = None, None, None
    place = None if given.preference is None else given.preference.place
    if given.preference is not None:
        preference_model = prefer(
            sft_model=sft_model, windows=windows, catalog=catalog, config=given.preference.training
        )
    if place != "instead_of_rl":
        rl_model = reinforce(
            start_model=preference_model if place == "before_rl" else sft_model,
            windows=windows,
            catalog=catalog,
            teacher=teacher,
            config=given.rl,
            rl_sha256=rl_sha256,
            model_commits=model_commits,
        )
    if given.reasoning is not None:
        reasoning_model = reason(sft_model=sft_model, windows=windows, catalog=catalog, config=given.reasoning)
    return Policies(preference_model, rl_model, reasoning_model)
