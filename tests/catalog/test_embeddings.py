"""Item vectors from titles."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from rere.catalog.embeddings import embed_titles
from rere.config.catalog import SentenceEmbedding, TitleEmbedding
from rere.errors import RereError

TITLES = [
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Star Wars: The Empire Strikes Back (1980)",
    "Star Wars: Return of the Jedi (1983)",
    "Godfather, The (1972)",
    "Godfather: Part II, The (1974)",
    "Pulp Fiction (1994)",
]


def test_rows_are_unit_vectors_of_the_asked_width() -> None:
    vectors = embed_titles(TITLES, TitleEmbedding(dimensions=4))
    assert vectors.shape == (len(TITLES), 4)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_similar_titles_are_nearest() -> None:
    vectors = embed_titles(TITLES, TitleEmbedding())
    likeness = vectors @ vectors.T - 2 * np.eye(len(TITLES))
    assert likeness.argmax(axis=1).tolist()[:6] == [1, 0, 3, 2, 5, 4]


def test_without_reduction_cosines_are_those_of_the_tfidf_rows() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True).fit_transform(TITLES).toarray()
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(TITLES).toarray()
    expected = (words @ words.T + grams @ grams.T) / 2
    vectors = embed_titles(TITLES, TitleEmbedding(dimensions=len(TITLES)))
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


def test_the_same_seed_gives_the_same_vectors_and_equal_titles_equal_ones() -> None:
    titles = [*TITLES, TITLES[2]]
    first, second = (embed_titles(titles, TitleEmbedding(dimensions=3), seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[2], first[-1], atol=1e-6)


@pytest.mark.parametrize(
    ("titles", "dimensions"),
    [(["one"], 1), (["one", "two", "three"], 3), (["", " "], 1), (["?!", "1"], 2)],
)
def test_a_small_catalogue_has_fewer_dimensions(titles: list[str], dimensions: int) -> None:
    vectors = embed_titles(titles, TitleEmbedding())
    assert vectors.shape == (len(titles), dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_title_without_features_gets_the_first_axis() -> None:
    vectors = embed_titles([*TITLES, " "], TitleEmbedding(dimensions=3))
    np.testing.assert_array_equal(vectors[-1], [1, 0, 0])
    assert np.isfinite(vectors).all()


def test_no_titles_are_refused() -> None:
    with pytest.raises(RereError, match="at least one title"):
        embed_titles([], TitleEmbedding())


class _FakeSentenceTransformer:
    def __init__(self, model: str, revision: str, trust_remote_code: bool, model_kwargs: dict[str, object]) -> None:
        assert (trust_remote_code, model_kwargs) == (False, {"use_safetensors": True})
        assert revision == "main"
        if model != "here":
            raise OSError(f"{model} is not a local folder\nand not a model")

    def encode(self, sentences: list[str], show_progress_bar: bool) -> np.ndarray:
        return np.array([[3.0 * len(text), 4.0 * len(text)] for text in sentences])


@pytest.fixture
def fake_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(SentenceTransformer=_FakeSentenceTransformer)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


@pytest.mark.usefixtures("fake_package")
def test_a_sentence_model_gives_its_own_vectors_at_unit_length() -> None:
    vectors = embed_titles(["a", "", "ccc"], SentenceEmbedding(model="here"))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.usefixtures("fake_package")
def test_a_sentence_model_that_cannot_be_found_is_one_clear_error() -> None:
    with pytest.raises(RereError, match=r"'nowhere'.*is not a local folder.*tfidf"):
        embed_titles(["a"], SentenceEmbedding(model="nowhere"))


def test_the_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(RereError, match=r"sentence-transformers.*\[embeddings\]"):
        embed_titles(["a"], SentenceEmbedding(model="here"))
