"""Beam search as tree attention against stock `generate`, and against scoring every item."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.trie import build_trie
from rere.config.backbone import ScratchModel
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.models.backbone import load_model
from rere.models.tree_attention import TreeModel
from tests.oracles import all_sequences, score_all_items, stock_beam_search

VOCABULARY, END = 40, 2
ARCHITECTURES = ("llama", "qwen2", "gemma", "gpt2")


def tiny_model(architecture: str, seed: int = 0) -> PreTrainedModel:
    """Two layers of random weights, drawn wide enough that scores differ between items; on the CPU, as the tries."""
    backbone = ScratchModel.model_validate({"architecture": architecture, "layers": 2, "width": 16, "heads": 2})
    model = load_model(backbone, VOCABULARY, seed).cpu().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def random_items(count: int, generator: torch.Generator, longest: int = 6) -> list[list[int]]:
    """Distinct items with shared beginnings, some of which are the beginning of another plus the end token."""
    items = {(3,), (3, 4), (3, 4, 5)}
    while len(items) < count:
        length = int(torch.randint(1, longest, (1,), generator=generator))
        alphabet = 4 if torch.rand(1, generator=generator) < 0.5 else VOCABULARY - 3
        items.add(tuple((3 + torch.randint(0, alphabet, (length,), generator=generator)).tolist()))
    return [[*item, END] for item in sorted(items)]


def random_prompts(count: int, generator: torch.Generator) -> list[list[int]]:
    lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
    return [(3 + torch.randint(0, VOCABULARY - 3, (n,), generator=generator)).tolist() for n in lengths]


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_items_order_and_scores_as_stock_generate(architecture: str, normalisation: Normalisation) -> None:
    generator = torch.Generator().manual_seed(1)
    model = tiny_model(architecture)
    items, prompts = random_items(60, generator), random_prompts(50, generator)
    expected = [stock_beam_search(model, items, prompt, 5, normalisation) for prompt in prompts]
    settings = [SearchSettings(beams=5, normalisation=normalisation, lookahead_tokens=n) for n in (0, 150, 100_000)]
    plain, some, far = (beam_search(TreeModel(model), build_trie(items), prompts, own) for own in settings)
    assert plain.forwarded <= some.forwarded <= far.forwarded > plain.forwarded
    assert plain.required == some.required == far.required <= plain.forwarded
    for found, (row, pairs) in itertools.product((plain, some, far), enumerate(expected)):
        assert found.items[row, : len(pairs)].tolist() == [item for item, _ in pairs]
        torch.testing.assert_close(
            found.scores[row, : len(pairs)], torch.tensor([score for _, score in pairs]), atol=1e-3, rtol=0
        )
        assert (found.items[row, len(pairs) :] == -1).all()


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_wide_beam_agrees_with_exhaustive_enumeration(normalisation: Normalisation) -> None:
    model = tiny_model("qwen2", seed=3)
    items = all_sequences((5, 6, 7), (1, 2, 3), END)  # 39 items
    prompts = random_prompts(4, torch.Generator().manual_seed(2))
    everything = torch.stack([score_all_items(model, items, prompt, normalisation) for prompt in prompts])
    found = beam_search(
        TreeModel(model), build_trie(items), prompts, SearchSettings(beams=len(items), normalisation=normalisation)
    )
    scores, order = everything.sort(descending=True)
    assert found.items.tolist() == order.tolist()
    torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=0)
    if normalisation == "trie":  # a proper distribution over the catalogue
        torch.testing.assert_close(found.scores.exp().sum(1), torch.ones(4))


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("items", [[[5, 6, END]], [[5, END], [5, 6, END], [5, 6, 7, END]], [[4], [5], [6]]])
def test_catalogues_smaller_than_the_beam(items: list[list[int]], normalisation: Normalisation) -> None:
    model = tiny_model("llama")
    found = beam_search(
        TreeModel(model), build_trie(items), [[3, 4], [9]], SearchSettings(beams=8, normalisation=normalisation)
    )
    expected = score_all_items(model, items, [9], normalisation).sort(descending=True)
    assert found.items[1].tolist() == expected.indices.tolist() + [-1] * (8 - len(items))
    torch.testing.assert_close(found.scores[1, : len(items)], expected.values, atol=1e-4, rtol=0)
    assert (found.scores[1, len(items) :] == -torch.inf).all()


def test_a_prompt_is_not_disturbed_by_the_others_in_its_batch() -> None:
    generator = torch.Generator().manual_seed(5)
    model, items, prompts = (
        TreeModel(tiny_model("qwen2")),
        random_items(80, generator),
        random_prompts(6, generator),
    )
    trie = build_trie(items)
    together = beam_search(model, trie, prompts, SearchSettings(beams=4))
    for row, prompt in enumerate(prompts):
        alone = beam_search(model, trie, [prompt], SearchSettings(beams=4))
        assert together.items[row].tolist() == alone.items[0].tolist()
        torch.testing.assert_close(together.scores[row], alone.scores[0], atol=1e-4, rtol=0)
