"""The registry of preference losses: one line each."""

from __future__ import annotations

from rere.training.preference.losses.base import PreferenceLoss
from rere.training.preference.losses.dynamic_po import DynamicPO
from rere.training.preference.losses.napo import NAPO
from rere.training.preference.losses.s_dpo import SDPO

PREFERENCE_LOSSES: tuple[type[PreferenceLoss], ...] = (
    SDPO,
    DynamicPO,
    NAPO,
)
