"""How much each setting mattered, and how sure that is with so few trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

LEAST = 4  # judged trials, to say anything
DRAWS, TREES = 20, 16  # of the judged trials with replacement; trees per draw
LOW, HIGH = 10, 90  # percentiles over the draws


@dataclass(frozen=True)
class Importance:
    """The share of the metric's variation that a setting explains, and its middle 80 % had other such trials been run.

    low, high: percentiles over draws of the judged trials with replacement; they needn't hold `share`, since a draw
        has fewer different trials.
    """

    share: float
    low: float
    high: float


def importances(judged: Sequence[FrozenTrial], seed: int) -> dict[str, Importance]:
    """By functional ANOVA (Hutter et al., ICML 2014), the largest first; empty with few trials, or equal ones."""
    if len(judged) < LEAST or len({trial.value for trial in judged}) == 1:
        return {}
    shares = _shares(judged, FanovaImportanceEvaluator(seed=seed))
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in shares}
    for _ in range(DRAWS):
        some = [judged[n] for n in random.integers(len(judged), size=len(judged))]
        if len({trial.value for trial in some}) > 1:
            for name, share in _shares(some, FanovaImportanceEvaluator(n_trees=TREES, seed=seed)).items():
                drawn[name].append(share)
    return {
        name: Importance(share, *map(float, np.percentile(drawn[name] or [0.0, 1.0], [LOW, HIGH])))
        for name, share in shares.items()
    }


def sureness(found: dict[str, Importance], judged: int) -> str:
    """Whether the trials tell which setting matters most, in words."""
    names = list(found)
    if len(names) < 2:
        return ""
    first, second = found[names[0]], max((found[name] for name in names[1:]), key=lambda one: one.high)
    if first.low > second.high:
        return f"{names[0]} mattered most."
    return f"Which setting mattered most can’t be told from {judged} judged trials."


def _shares(trials: Sequence[FrozenTrial], evaluator: FanovaImportanceEvaluator) -> dict[str, float]:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return get_param_importances(study, evaluator=evaluator)
