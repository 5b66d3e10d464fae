"""Candidates by constrained beam search: the paper's."""

from __future__ import annotations

from typing import ClassVar, Literal

from rere.config.decoding import Beam, SearchSettings
from rere.decoding.beam import beam_search
from rere.training.rl.samplers.base import Sampled, Sampler, SamplerInputs


class BeamSampler(Sampler):
    """The G likeliest items, all distinct, by constrained beam search."""

    unconstrained: ClassVar[Beam] = Beam()

    type: Literal["beam"] = "beam"

    def __call__(self, given: SamplerInputs) -> Sampled:
        search = SearchSettings(beams=given.num_generations, normalisation=given.normalisation)
        found = beam_search(given.model, given.trie, given.prompts, search)
        return Sampled(found.items, found.forwarded)
