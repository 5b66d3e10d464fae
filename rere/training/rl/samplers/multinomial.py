"""Candidates by independent draws."""

from __future__ import annotations

from typing import ClassVar, Literal

from rere.config.decoding import Multinomial
from rere.decoding.sampling import sample_items
from rere.training.rl.samplers.base import Sampled, Sampler, SamplerInputs


class MultinomialSampler(Sampler):
    """G independent draws from the model's distribution over the catalogue; repeats possible."""

    unconstrained: ClassVar[Multinomial] = Multinomial()

    type: Literal["multinomial"] = "multinomial"

    def __call__(self, given: SamplerInputs) -> Sampled:
        drawn = sample_items(given.model, given.trie, given.prompts, given.num_generations, given.generator())
        return Sampled(drawn.items, drawn.forwarded)
