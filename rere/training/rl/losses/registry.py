"""The registry of policy losses: one line each."""

from __future__ import annotations

from rere.training.rl.losses.anchored_grpo import AnchoredGRPO
from rere.training.rl.losses.base import Loss
from rere.training.rl.losses.dapo import DAPO
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.gspo import GSPO
from rere.training.rl.losses.mpo import MPO
from rere.training.rl.losses.riser import RISER
from rere.training.rl.losses.sibling_grpo import SiblingGRPO

LOSSES: tuple[type[Loss], ...] = (
    GRPO,
    DAPO,
    GSPO,
    MPO,
    SiblingGRPO,
    AnchoredGRPO,
    RISER,
)
