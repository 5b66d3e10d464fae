"""Semantic IDs: residual quantisation, collisions, and the whole way through training and decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.residual_kmeans import residual_kmeans
from rere.catalog.semantic_ids import semantic_codes
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.config.decoding import Normalisation, SearchSettings
from rere.config.evaluation import EvaluationConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.decoding.beam import beam_search
from rere.errors import RereError
from rere.evaluation.evaluator import evaluate
from rere.models.backbone import load_model, load_tokenizer
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY, WORLD_ITEMS
from tests.oracles import embedding_of, head_of, score_all_items

SEMANTIC = SemanticCode(embedding=TitleEmbedding(dimensions=8), levels=2, codewords=8)
MODEL = TINY.model_copy(update={"width": 64})


@pytest.fixture(scope="module")
def catalog(world_items: pd.DataFrame) -> CatalogIndex:
    return build_index(world_items, IndexConfig(backbone=MODEL, code=SEMANTIC))


@pytest.fixture(scope="module")
def pretrained(world_items: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    """A directory like a pretrained model's, with a tokenizer of its own."""
    directory = tmp_path_factory.mktemp("pretrained")
    load_model(MODEL, 300, seed=1).save_pretrained(directory)
    load_tokenizer(MODEL, world_items["title"]).save_pretrained(directory)
    # The architecture's tokenizer class may add tokens of its own.
    own = len(load_tokenizer(LocalModel(path=directory), ()))
    load_model(MODEL, own, seed=1).save_pretrained(directory)
    return LocalModel(path=directory)


def begins_another(codes: list[list[int]]) -> bool:
    return any(a != b and b[: len(a)] == a for a in codes for b in codes)


# ---------------------------------------------------------------- codes


def test_each_codeword_is_the_nearest_centroid_of_what_is_left() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 6))
    codes, books = residual_kmeans(vectors, levels=3, codewords=7, seed=0)
    for vector, code in zip(vectors, codes.tolist(), strict=True):
        left = vector
        for book, codeword in zip(books, code, strict=True):
            assert np.linalg.norm(book - left, axis=1).argmin() == codeword
            left = left - book[codeword]


def test_each_centroid_is_the_mean_of_what_it_stands_for() -> None:
    vectors = np.random.default_rng(1).normal(size=(60, 6))
    codes, books = residual_kmeans(vectors, levels=2, codewords=7, seed=0)
    left = vectors
    for level, book in enumerate(books):
        for codeword, centroid in enumerate(book):
            np.testing.assert_allclose(left[codes[:, level] == codeword].mean(0), centroid, atol=1e-5)
        left = left - book[codes[:, level]]


def test_more_levels_leave_less_over() -> None:
    vectors = np.random.default_rng(2).normal(size=(80, 6))
    codes, books = residual_kmeans(vectors, levels=4, codewords=4, seed=0)
    parts = [book[codes[:, level]] for level, book in enumerate(books)]
    errors = [np.linalg.norm(vectors - sum(parts[:n]), axis=1).mean() for n in range(5)]
    assert errors == sorted(errors, reverse=True)


def test_items_that_share_all_codewords_are_numbered() -> None:
    near = np.repeat(np.eye(3), 3, axis=0)[[0, 3, 1, 6, 4, 2]]  # three of one kind, two of another, one alone
    codes = semantic_codes(near, levels=1, codewords=3, seed=0)
    first, second, third = codes[0][0], codes[1][0], codes[3][0]
    assert codes == [[first, 0], [second, 0], [first, 1], [third], [second, 1], [first, 2]]
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("items", "levels", "codewords"), [(1, 3, 32), (2, 3, 32), (20, 3, 32), (200, 2, 4), (50, 1, 2)]
)
def test_codes_are_distinct_and_none_begins_another(items: int, levels: int, codewords: int) -> None:
    vectors = np.random.default_rng(items).normal(size=(items, 4)).astype(np.float32)
    codes = semantic_codes(vectors, levels, codewords, seed=0)
    assert len({tuple(code) for code in codes}) == items
    assert not begins_another(codes)
    assert all(0 <= codeword < codewords for code in codes for codeword in code[:levels])
    assert codes == semantic_codes(vectors, levels, codewords, seed=0)


# ---------------------------------------------------------------- index


def test_an_item_is_its_codewords_as_new_tokens(catalog: CatalogIndex) -> None:
    codes = catalog.item_tokens
    for code in codes:
        names = catalog.tokenizer.convert_ids_to_tokens(code)
        assert [name.split("_")[0] for name in names] == [f"<s{level}" for level in range(len(code))]
    assert len({tuple(code) for code in codes}) == WORLD_ITEMS
    assert not begins_another(codes)
    assert catalog.item_tokens[3][:2] == catalog.item_tokens[5][:2]  # one title, two items
    assert catalog.item_tokens[3] != catalog.item_tokens[5]
    assert catalog.prompt([2, 0]) == [*catalog.prompt_head, *codes[2], *codes[0]]


def test_the_saved_tokenizer_knows_the_codewords(
    catalog: CatalogIndex, world_items: pd.DataFrame, tmp_path: Path
) -> None:
    catalog.save(tmp_path)
    loaded = CatalogIndex.load(tmp_path)
    assert loaded.item_tokens == catalog.item_tokens
    assert loaded.config == catalog.config
    assert len(loaded.tokenizer) == len(catalog.tokenizer)
    for code in catalog.item_tokens:
        text = "".join(loaded.tokenizer.convert_ids_to_tokens(code))
        assert loaded.tokenizer.encode(text, add_special_tokens=False) == code
    again = build_index(world_items, catalog.config)
    assert again.item_tokens == catalog.item_tokens


def test_new_tokens_of_a_pretrained_model_are_drawn_like_its_own(
    world_items: pd.DataFrame, pretrained: LocalModel
) -> None:
    catalog = build_index(world_items, IndexConfig(backbone=pretrained, code=SEMANTIC))
    own, vocabulary = len(load_tokenizer(pretrained, ())), len(catalog.tokenizer)
    before = embedding_of(load_model(pretrained, own, seed=0))
    model = load_model(pretrained, vocabulary, seed=0)
    after = embedding_of(model)
    assert head_of(model) is after  # still tied
    assert model.config.vocab_size == len(after) == vocabulary > own == len(before)
    assert {token for code in catalog.item_tokens for token in code} == set(range(own, vocabulary))
    torch.testing.assert_close(after[:own], before)
    new = after[own:]
    assert torch.pdist(new).min() > 0.1 * torch.pdist(before).mean()
    assert 0.5 < (new - before.mean(0)).std() / (before - before.mean(0)).std() < 2
    torch.testing.assert_close(embedding_of(load_model(pretrained, vocabulary, seed=0)), after)


@pytest.mark.parametrize("rows", [-1, 40])
def test_an_embedding_may_lack_a_token_or_have_spare_rows(pretrained: LocalModel, tmp_path: Path, rows: int) -> None:
    own = len(load_tokenizer(pretrained, ()))
    load_tokenizer(pretrained, ()).save_pretrained(tmp_path)
    load_model(MODEL, own + rows, seed=1).save_pretrained(tmp_path)
    found = embedding_of(load_model(LocalModel(path=tmp_path), own + 5, seed=0)).detach()
    kept = embedding_of(load_model(MODEL, own + rows, seed=1)).detach()
    assert len(found) == max(own + 5, own + rows)
    first = min(own, own + rows)
    torch.testing.assert_close(found[:first], kept[:first])
    assert torch.pdist(found[first : own + 5]).min() > 0.01
    torch.testing.assert_close(found[own + 5 :], kept[own + 5 :])


def test_a_head_of_its_own_gets_rows_for_the_new_tokens_too(pretrained: LocalModel, tmp_path: Path) -> None:
    own = len(load_tokenizer(pretrained, ()))
    load_tokenizer(pretrained, ()).save_pretrained(tmp_path)
    config = load_model(MODEL, own, seed=1).config
    config.tie_word_embeddings = False
    kept = AutoModelForCausalLM.from_config(config)
    kept.save_pretrained(tmp_path)
    found = load_model(LocalModel(path=tmp_path), own + 5, seed=0)
    for name in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(model, name)().weight.detach() for model in (kept, found))
        assert len(after) == own + 5
        torch.testing.assert_close(after[:own], before)
        assert torch.pdist(after[own:]).min() > 0.01
        assert 0.5 < after[own:].std() / before.std() < 2


def test_a_tokenizer_of_another_backbone_is_refused(pretrained: LocalModel) -> None:
    with pytest.raises(RereError, match="indexed with"):
        load_model(pretrained, vocabulary=100, seed=0)


# ---------------------------------------------------------------- decoding and training


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_beam_search_finds_distinct_items_in_the_order_of_all_scores(
    catalog: CatalogIndex, normalisation: Normalisation
) -> None:
    model = load_model(MODEL, len(catalog.tokenizer), seed=3).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    prompts = [catalog.prompt([4, 7]), catalog.prompt([11])]
    found = beam_search(
        TreeModel(model), catalog.trie, prompts, SearchSettings(beams=WORLD_ITEMS, normalisation=normalisation)
    )
    for row, prompt in enumerate(prompts):
        expected = score_all_items(model, catalog.item_tokens, prompt, normalisation).sort(descending=True)
        assert found.items[row].tolist() == expected.indices.tolist()
        torch.testing.assert_close(found.scores[row], expected.values, atol=1e-4, rtol=0)


QUICK = SFTConfig(
    distillation=None, normalisation="vocab", epochs=15, learning_rate=5e-3, batch_tokens=32, sequence_items=8
)
RL = RLConfig(
    rewards=(RuleReward(), RankingReward()),
    loss=GRPO(),
    num_generations=4,
    prompts=16,
    updates=4,
    validate_every=2,
    checkpoint_every=2,
    learning_rate=1e-3,
)


def hits(checkpoint: Checkpoint, catalog: CatalogIndex, windows: Windows) -> int:
    """Test targets among the first 2 of 24 items, of 60; chance makes 5."""
    recommender = GenerativeRecommender("semantic", checkpoint.path, catalog)
    results = evaluate(recommender, windows.of("test"), catalog.index_of, EvaluationConfig(beams=2, ks=(1, 2)))
    return int((results["rank"] > 0).sum())


@pytest.mark.parametrize("backbone", ["scratch", "directory"])
def test_training_learns_the_next_item_and_rl_goes_on_from_it(
    world_windows: Windows,
    world_items: pd.DataFrame,
    catalog: CatalogIndex,
    pretrained: LocalModel,
    tmp_path: Path,
    backbone: str,
) -> None:
    if backbone == "directory":
        catalog = build_index(world_items, catalog.config.model_copy(update={"backbone": pretrained}))
    start = train_sft(world_windows, catalog, catalog.config.backbone, QUICK, tmp_path / "sft", log=lambda *_: None)
    losses = [record["valid_loss"] for record in start.curves() if "valid_loss" in record]
    assert losses[-1] < 0.7 * losses[0]
    assert hits(start, catalog, world_windows) > 20
    tuned = train_rl(start, world_windows, catalog, RL, tmp_path / "rl", log=lambda *_: None)
    assert hits(tuned, catalog, world_windows) > 20
