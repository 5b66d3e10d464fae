"""The registry of launchers: one line each."""

from __future__ import annotations

from rere.runtime.launchers.base import Launcher
from rere.runtime.launchers.local import LocalLauncher
from rere.runtime.launchers.ray import RayLauncher

LAUNCHERS: tuple[type[Launcher], ...] = (
    LocalLauncher,
    RayLauncher,
)
