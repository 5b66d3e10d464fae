"""Logs at which a training in this process ends as if it were killed, to see where the next one goes on."""

from __future__ import annotations

from collections.abc import Callable


class Killed(Exception):
    """In place of the signal."""


def killed_after_epoch(epoch: int) -> Callable[[dict[str, float], int], None]:
    """SFT ends at the validation after that epoch."""

    def log(metrics: dict[str, float], update: int) -> None:
        if "valid_loss" in metrics and metrics["epoch"] >= epoch:
            raise Killed

    return log


def killed_in_update(number: int) -> Callable[[dict[str, float], int], None]:
    """RL or preference training ends in that update."""

    def log(metrics: dict[str, float], update: int) -> None:
        if update == number:
            raise Killed

    return log
