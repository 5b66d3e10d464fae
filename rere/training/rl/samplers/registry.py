"""The registry of samplers: one line each."""

from __future__ import annotations

from rere.training.rl.samplers.base import Sampler
from rere.training.rl.samplers.beam import BeamSampler
from rere.training.rl.samplers.dynamic import DynamicSampler
from rere.training.rl.samplers.multinomial import MultinomialSampler

SAMPLERS: tuple[type[Sampler], ...] = (
    BeamSampler,
    MultinomialSampler,
    DynamicSampler,
)
