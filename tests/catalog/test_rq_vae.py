"""Codewords by a residual-quantised autoencoder, beside those of residual k-means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.residual_kmeans import residual_kmeans
from rere.catalog.rq_vae import rq_vae
from rere.catalog.semantic_ids import semantic_codes
from rere.config.catalog import RQVAE, IndexConfig, ResidualKMeans, TitleEmbedding
from tests.conftest import TINY

QUICK = RQVAE(width=8, hidden=32, updates=600, learning_rate=5e-3)
LEVELS, CODEWORDS = 2, 6


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """120 unit vectors: six directions, each with five smaller ones about it, each with four items of some noise."""
    random = np.random.default_rng(0)
    coarse, fine = np.eye(16)[:6], 0.4 * np.eye(16)[6:11]
    every = (coarse[:, None, None] + fine[None, :, None] + 0.02 * random.normal(size=(6, 5, 4, 16))).reshape(-1, 16)
    return (every / np.linalg.norm(every, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def learned(vectors: np.ndarray) -> np.ndarray:
    return rq_vae(vectors, LEVELS, CODEWORDS, QUICK, seed=0)


def used(codes: np.ndarray) -> list[int]:
    """Codewords in use, by level."""
    return [len(np.unique(level)) for level in codes.T]


def test_codes_have_their_levels_and_codewords(learned: np.ndarray) -> None:
    assert learned.shape == (120, LEVELS)
    assert learned.dtype == np.int64
    assert learned.min() >= 0
    assert learned.max() < CODEWORDS


def test_both_quantisers_use_their_codebooks_and_part_the_groups(vectors: np.ndarray, learned: np.ndarray) -> None:
    centroids, _ = residual_kmeans(vectors, LEVELS, CODEWORDS, seed=0)
    assert used(centroids) == [CODEWORDS] * LEVELS
    assert min(used(learned)) >= CODEWORDS - 1  # no collapse: moved where items are, codewords get used
    for codes in (centroids, learned):
        assert len(np.unique(codes, axis=0)) >= 15  # of 36 pairs of codewords
        # Items of one group mostly share their code.
        alike = [len({tuple(code) for code in group.tolist()}) == 1 for group in codes.reshape(30, 4, LEVELS)]
        assert np.mean(alike) > 0.4  # by chance next to none; .67 to .97 over eight seeds


def test_the_seed_decides_and_nothing_else(vectors: np.ndarray, learned: np.ndarray) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = rq_vae(vectors, LEVELS, CODEWORDS, QUICK, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)  # what others draw doesn't change either
    np.testing.assert_array_equal(again, learned)
    assert (rq_vae(vectors, LEVELS, CODEWORDS, QUICK, seed=1) != learned).any()


def test_training_brings_items_nearer_to_their_codewords(vectors: np.ndarray) -> None:
    """Of two items with one code after training, the vectors are nearer than those of any two."""
    codes = rq_vae(vectors, LEVELS, CODEWORDS, QUICK, seed=0)
    same = (codes[:, None] == codes[None]).all(2) & ~np.eye(120, dtype=bool)
    cosines = vectors @ vectors.T
    assert cosines[same].mean() > cosines.mean() + 0.2


@pytest.mark.parametrize("items", [1, 2, 9])
def test_items_that_share_their_codewords_are_numbered(items: int) -> None:
    vectors = np.random.default_rng(items).normal(size=(items, 4)).astype(np.float32)
    vectors[items // 2 :] = vectors[0]
    codes = semantic_codes(vectors, 2, 3, 0, QUICK)
    assert len({tuple(code) for code in codes}) == items
    assert not any(a != b and b[: len(a)] == a for a in codes for b in codes)


def test_a_catalogue_is_indexed_by_it(world_items: pd.DataFrame) -> None:
    code = SemanticCode.model_validate(
        {"quantiser": {"type": "rq_vae", "updates": 60}, "codewords": 8, "embedding": TitleEmbedding(dimensions=8)}
    )
    catalog = build_index(world_items, IndexConfig(backbone=TINY, code=code))
    assert len(set(map(tuple, catalog.item_tokens))) == len(world_items)
    assert IndexConfig.model_validate(catalog.config.model_dump(mode="json")) == catalog.config
    default = build_index(
        world_items, IndexConfig(backbone=TINY, code=code.model_copy(update={"quantiser": ResidualKMeans()}))
    )
    assert default.item_tokens != catalog.item_tokens


def test_a_saved_catalogue_from_before_has_k_means(world_items: pd.DataFrame) -> None:
    catalog: CatalogIndex = build_index(world_items, IndexConfig(backbone=TINY, code=SemanticCode(codewords=8)))
    facts = catalog.config.model_dump(mode="json")
    del facts["code"]["quantiser"]
    assert IndexConfig.model_validate(facts) == catalog.config
