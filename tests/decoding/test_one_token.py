"""Items of one token each: their search is one forward and one ranking."""

from __future__ import annotations

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.exclusion import Exclusions, leaf_positions
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import tiny_model
from tests.oracles import score_all_items

ITEMS = [[n] for n in (30, 3, 17, 4, 25, 9)]
PROMPTS = [[5, 6, 7], [8], [3, 30]]


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("beams", [3, 6, 8])
def test_the_ranking_is_that_of_all_scores(normalisation: Normalisation, beams: int) -> None:
    model, trie = tiny_model("llama"), build_trie(ITEMS)
    everything = torch.stack([score_all_items(model, ITEMS, prompt, normalisation) for prompt in PROMPTS])
    search = SearchSettings(beams=beams, normalisation=normalisation)
    found = beam_search(TreeModel(model), trie, PROMPTS, search)
    scores, order = everything.sort(descending=True)
    kept = min(beams, len(ITEMS))
    assert found.items[:, :kept].tolist() == order[:, :kept].tolist()
    assert (found.items[:, kept:] == -1).all()
    torch.testing.assert_close(found.scores[:, :kept], scores[:, :kept], atol=1e-4, rtol=0)
    assert found.forwarded == found.required == sum(map(len, PROMPTS))  # nothing but the prompts

    gone = Exclusions.of(trie, leaf_positions(trie, [1]), [[0, 2], [], [5]])
    left = beam_search(TreeModel(model), trie, PROMPTS, search, exclusions=gone)
    for row, barred in enumerate(({0, 1, 2}, {1}, {1, 5})):
        expected = [item for item in order[row].tolist() if item not in barred][:beams]
        assert left.items[row].tolist() == expected + [-1] * (beams - len(expected))

    opinion = torch.log_softmax(torch.arange(18.0, dtype=torch.float64).view(3, 6), 1)
    prior = ItemPrior(node_log_mass(trie, opinion), weight=0.4)
    mixed = beam_search(TreeModel(model), trie, PROMPTS, search, item_prior=prior)
    scores, order = (0.6 * everything + 0.4 * opinion.float()).sort(descending=True)
    assert mixed.items[:, :kept].tolist() == order[:, :kept].tolist()
    torch.testing.assert_close(mixed.scores[:, :kept], scores[:, :kept], atol=1e-4, rtol=0)
