"""The registry of advantages: one line each."""

from __future__ import annotations

from rere.training.rl.advantages.base import Advantage
from rere.training.rl.advantages.group_std import GroupStd
from rere.training.rl.advantages.unscaled import Unscaled

ADVANTAGES: tuple[type[Advantage], ...] = (
    GroupStd,
    Unscaled,
)
