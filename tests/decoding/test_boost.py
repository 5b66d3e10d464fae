"""Some items' probabilities times a factor, in the search: against all items scored one by one."""

from __future__ import annotations

import math

import pytest
import torch

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.boost import Boost
from rere.decoding.exclusion import Exclusions, leaf_positions
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.models.tree_attention import TreeModel
from tests.decoding.test_beam import random_items, random_prompts, tiny_model
from tests.oracles import score_all_items


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("factor", [0.2, 1.0, 40.0])
@pytest.mark.parametrize("longest", [1, 4])  # tokens of an item at most; of one token each: ranked at once
def test_a_boosted_search_ranks_by_the_factor_times_the_probability(
    normalisation: Normalisation, factor: float, longest: int
) -> None:
    random = torch.Generator().manual_seed(3)
    items = [[n] for n in (30, 3, 17, 4, 25, 9)] if longest == 1 else random_items(14, random, longest)
    model, trie, prompts = tiny_model("llama"), build_trie(items), random_prompts(3, random)
    chosen = torch.arange(len(items)) % 3 == 1
    boost = Boost.of(trie, chosen, factor)
    everything = torch.stack([score_all_items(model, items, prompt, normalisation) for prompt in prompts])
    boosted = everything + math.log(factor) * chosen
    search = SearchSettings(beams=len(items), normalisation=normalisation)

    found = beam_search(TreeModel(model), trie, prompts, search, boost=boost)
    scores, order = boosted.sort(descending=True)
    assert found.items.tolist() == order.tolist()
    torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=0)

    gone = Exclusions.of(trie, leaf_positions(trie, [1]), [[0], [], []])
    left = beam_search(TreeModel(model), trie, prompts, search, boost=boost, exclusions=gone)
    expected = [[item for item in row if item != 1] for row in order.tolist()]
    assert left.items[1, :-1].tolist() == expected[1]
    assert left.items[0, :-2].tolist() == [item for item in expected[0] if item != 0]

    opinion = torch.log_softmax(torch.randn(3, len(items), generator=random, dtype=torch.float64), 1)
    prior = ItemPrior(node_log_mass(trie, opinion), weight=0.4)
    mixed = beam_search(TreeModel(model), trie, prompts, search, item_prior=prior, boost=boost)
    scores, order = (0.6 * boosted + 0.4 * opinion.float()).sort(descending=True)
    assert mixed.items.tolist() == order.tolist()
    torch.testing.assert_close(mixed.scores, scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [0.2, 40.0])
def test_along_no_way_does_a_boost_raise_a_score(factor: float) -> None:
    """A search may therefore stop as early as without one."""
    random = torch.Generator().manual_seed(5)
    trie = build_trie(random_items(30, random))
    boost = Boost.of(trie, torch.arange(30) % 4 == 0, factor)
    nodes = torch.arange(1, trie.nodes)
    assert (boost.along(nodes, trie.parent[nodes]) <= 0).all()
    at_leaves = boost.most[trie.item_leaf].exp()
    torch.testing.assert_close(at_leaves, torch.where(torch.arange(30) % 4 == 0, factor, 1.0))


def test_a_narrow_search_finds_a_boosted_item_that_it_would_have_left_behind() -> None:
    """Its beginning is among the least probable: no ranking anew of what a plain search finds could bring it back."""
    random = torch.Generator().manual_seed(7)
    items, prompts = random_items(20, random), random_prompts(1, random)
    model, trie = tiny_model("llama"), build_trie(items)
    scores = score_all_items(model, items, prompts[0], "trie")
    last = int(scores.argmin())
    chosen = torch.zeros(20, dtype=torch.bool)
    chosen[last] = True
    search = SearchSettings(beams=2, normalisation="trie")
    assert last not in beam_search(TreeModel(model), trie, prompts, search).items[0].tolist()
    found = beam_search(TreeModel(model), trie, prompts, search, boost=Boost.of(trie, chosen, 1e6))
    assert found.items[0, 0] == last
    assert float(found.scores[0, 0]) == pytest.approx(float(scores[last]) + math.log(1e6), abs=1e-3)
