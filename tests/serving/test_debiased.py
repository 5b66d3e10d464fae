"""Debiased decoding against exhaustive enumeration and stock `generate`, and as a recommender like any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from rere.catalog.index import CatalogIndex
from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.errors import RereError
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Ranking, Recommender
from rere.recommenders.debiased import DebiasedRecommender
from rere.recommenders.item_model import item_log_probs
from rere.recommenders.popularity import Popularity
from tests.decoding.test_beam import END, random_items, random_prompts, tiny_model
from tests.oracles import all_sequences, score_all_items
from tests.recommenders.test_contract import (  # noqa: F401  (the promises, asked of the fixture below)
    generative,
    sasrec,
    test_a_list_holds_k_distinct_items_of_the_catalogue,
    test_a_list_longer_than_the_catalogue_names_every_item_once,
    test_asking_twice_answers_the_same,
    test_it_is_a_recommender,
    test_no_histories_give_no_rows,
    test_rows_do_not_depend_on_their_company,
    test_scores_fall,
)


@pytest.fixture
def recommender(world_catalog: CatalogIndex) -> Recommender:
    return DebiasedRecommender(generative(world_catalog), sasrec(world_catalog), weight=0.4)


def teacher_log_probs(prompts: int, items: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn((prompts, items), generator=generator, dtype=torch.float64)).log_softmax(1)


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_a_wide_beam_agrees_with_exhaustive_enumeration(normalisation: Normalisation, weight: float) -> None:
    model = tiny_model("qwen2", seed=3)
    items = all_sequences((5, 6, 7), (1, 2, 3), END)  # 39 items
    prompts = random_prompts(4, torch.Generator().manual_seed(2))
    opinion, trie = teacher_log_probs(4, len(items)), build_trie(items)
    plain = torch.stack([score_all_items(model, items, prompt, normalisation) for prompt in prompts])
    expected, order = ((1 - weight) * plain + weight * opinion).sort(descending=True)
    item_prior = ItemPrior(node_log_mass(trie, opinion), weight)
    settings = SearchSettings(beams=len(items), normalisation=normalisation)
    found = beam_search(TreeModel(model), trie, prompts, settings, item_prior=item_prior)
    assert found.items.tolist() == order.tolist()
    torch.testing.assert_close(found.scores.double(), expected, atol=1e-4, rtol=0)


class Mixed(LogitsProcessor):
    """Stock `generate`'s step scores with D3's mixture, by looking at every item."""

    def __init__(
        self,
        items: list[list[int]],
        prompt: list[int],
        opinion: torch.Tensor,
        weight: float,
        normalisation: Normalisation,
    ) -> None:
        self.items, self.prompt, self.weight, self.normalisation = items, prompt, weight, normalisation
        self.probability = opinion.exp().tolist()

    def mass(self, prefix: list[int]) -> float:
        return sum(p for p, item in zip(self.probability, self.items, strict=True) if item[: len(prefix)] == prefix)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        mixed = torch.full_like(scores, -torch.inf)
        for beam, tokens in enumerate(input_ids.tolist()):
            prefix = tokens[len(self.prompt) :]
            allowed = sorted({i[len(prefix)] for i in self.items if i[: len(prefix)] == prefix and i != prefix})
            step = scores[beam, allowed]
            step = step.log_softmax(0) if self.normalisation == "trie" else step
            below = self.mass(prefix)
            for token, score in zip(allowed or [END], step.tolist() or [0.0], strict=True):
                share = np.log(self.mass([*prefix, token]) / below) if allowed else 0.0
                mixed[beam, token] = (1 - self.weight) * score + self.weight * share
        return mixed


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_a_narrow_beam_is_guided_as_stock_generate_would_be(normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(1)
    model, beams, weight = tiny_model("llama"), 4, 0.5
    items, prompts = random_items(60, generator), random_prompts(8, generator)
    opinion, trie = teacher_log_probs(8, len(items)), build_trie(items)
    item_prior = ItemPrior(node_log_mass(trie, opinion), weight)
    index_of = {tuple(item): n for n, item in enumerate(items)}
    settings = SearchSettings(beams=beams, normalisation=normalisation)
    expected = []
    for row, prompt in enumerate(prompts):
        out = model.generate(  # type: ignore[operator]
            torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.int64),
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            length_penalty=0.0,
            max_new_tokens=max(map(len, items)),
            logits_processor=LogitsProcessorList([Mixed(items, prompt, opinion[row], weight, normalisation)]),
            eos_token_id=END,
            pad_token_id=END,
            return_dict_in_generate=True,
            output_scores=True,
        )
        answers = [tokens[len(prompt) :] for tokens in out.sequences.tolist()]
        expected.append([index_of[tuple(answer[: answer.index(END) + 1])] for answer in answers])
        own = ItemPrior(item_prior.log_mass[[row]], weight)
        alone = beam_search(TreeModel(model), trie, [prompt], settings, item_prior=own).scores[0]
        torch.testing.assert_close(alone.sort().values, out.sequences_scores.sort().values, atol=1e-3, rtol=0)
    found = beam_search(TreeModel(model), trie, prompts, settings, item_prior=item_prior)
    assert found.items.tolist() == expected
    assert beam_search(TreeModel(model), trie, prompts, settings).items.tolist() != expected


def test_mass_is_that_of_the_items_below() -> None:
    items = [[4, 5, END], [4, 6, END], [7, 8, 9, END]]
    trie = build_trie(items)
    mass = node_log_mass(trie, torch.tensor([[0.5, 0.2, 0.3], [1.0, 0.0, 0.0]], dtype=torch.float64).log()).exp()
    expected = {(): (1.0, 1.0), (4,): (0.7, 1.0), (4, 6): (0.2, 0.0), (7, 8): (0.3, 0.0), (7, 8, 9, END): (0.3, 0.0)}
    for prefix, both in expected.items():
        assert mass[:, trie.walk(prefix)].tolist() == pytest.approx(both)


class Scored:
    """Ranks a catalogue by given scores (I,), the same for everyone."""

    def __init__(self, scores: list[float]) -> None:
        self.name, self.scores = "scored", np.array(scores, dtype=np.float32)

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        order = np.argsort(-self.scores, kind="stable")[:k]
        items = np.where(np.isfinite(self.scores[order]), order, -1)
        return Ranking(np.tile(items, (len(histories), 1)), np.tile(self.scores[order], (len(histories), 1)))


def test_scores_become_probabilities_and_what_is_left_out_is_never_recommended(world_catalog: CatalogIndex) -> None:
    scores = [0.0] * 22 + [-np.inf, 2.0]
    found = item_log_probs(Scored(scores), [[1], [2]], 24)
    assert found.exp().sum(1).tolist() == pytest.approx([1, 1])
    assert (found[0, 23] - found[0, 0]).item() == pytest.approx(2)
    ranking = DebiasedRecommender(generative(world_catalog), Scored(scores), 0.5).recommend([[1], [2, 3]], 24)
    for row in ranking.items.tolist():
        assert sorted(row) == [-1, *range(22), 23]


def test_weights_0_and_1_are_the_two_models(world_catalog: CatalogIndex) -> None:
    alone, assistant = generative(world_catalog), sasrec(world_catalog)
    histories = [[0, 1], [7]]
    plain = alone.recommend(histories, 24)
    assert DebiasedRecommender(alone, assistant, 0).recommend(histories, 24).items.tolist() == plain.items.tolist()
    expected = assistant.recommend(histories, 24)
    found = DebiasedRecommender(alone, assistant, 1).recommend(histories, 24)
    assert found.items.tolist() == expected.items.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_wrong_weights_and_assistants_are_clear_errors(world_catalog: CatalogIndex) -> None:
    with pytest.raises(RereError, match="weight from 0 to 1"):
        DebiasedRecommender(generative(world_catalog), Popularity(np.ones(24)), 1.5)
    with pytest.raises(RereError, match="same catalogue"):
        DebiasedRecommender(generative(world_catalog), Scored([0.0] * 23 + [1.0] * 9), 0.5).recommend([[1]], 3)
    with pytest.raises(RereError, match="a finite score"):
        DebiasedRecommender(generative(world_catalog), Scored([-np.inf] * 24), 0.5).recommend([[1]], 3)
