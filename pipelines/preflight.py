"""What can be known before anything is read: every setting alone, all of them together, and the user's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rere.config.consistency import require_consistent
from rere.training.rl.rewards.total import check_rewards


def preflight(settings: Mapping[str, Any]) -> None:
    """Check a training run's settings; reads no data.

    Args:
        settings: settings models by the name of the pipeline's parameter.

    Raises:
        RereError: the first problem found.
    """
    require_consistent(settings)
    check_rewards(settings["rl"].rewards, settings["data"].source.further_columns)
