"""What can be known before anything is read: every setting alone, all of them together, and the user's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.settings import RunSettings, TuneSettings
from rere.config.consistency import require_consistent
from rere.config.reading import validated
from rere.training.rl.rewards.total import check_rewards
from rere.tuning.space import require_valid, start_of


def preflight(settings: Mapping[str, Any]) -> None:
    """Check a training run's settings, or a tuning's with its whole space; reads no data.

    Args:
        settings: settings models by the name of the pipeline's parameter.

    Raises:
        RereError: the first problem found.
    """
    require_consistent(settings)
    check_rewards(settings["rl"].rewards, settings["data"].source.further_columns)
    if "tuning" in settings:
        given = TuneSettings(**settings)
        require_valid(given.tuning.space, given.run().model_dump(mode="json"), sound_settings)


def sound_settings(plain: Mapping[str, Any]) -> RunSettings:
    """A run's settings from plain values by stage; RereError where a run would refuse them."""
    found = validated(RunSettings, plain)
    preflight(dict(found))
    return found


def first_trial(given: TuneSettings) -> dict[str, Any] | None:
    """The settings as they stand, as a study's first trial; see `start_of`."""
    return start_of(given.tuning.space, given.run().model_dump(mode="json"), sound_settings)
