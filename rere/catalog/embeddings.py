"""Item vectors from titles: latent semantic analysis, or a sentence-transformers model.

What is near in these vectors has a similar title.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from rere.config.catalog import SentenceEmbedding, TitleEmbedding, TitleVectors
from rere.errors import RereError
from rere.models.files import reading
from rere.runtime.hub import from_hub

FEATURES = 1 << 16  # words, and as many character n-grams: the most frequent ones, so memory stays bounded


def embed_titles(titles: Sequence[str], config: TitleVectors, seed: int = 0) -> np.ndarray:
    """A unit vector a title; equal titles have equal vectors. Deterministic for a seed.

    Args:
        titles: I strings; at least one. A title without any feature gets the first axis.
        config: `TitleEmbedding` (TF-IDF, then truncated SVD) or `SentenceEmbedding` (a model's own vectors).
        seed: of the randomised SVD; a sentence-transformers model has no use for it.

    Returns:
        (I, D) float32. D is the asked number of dimensions or, where that is less, the number of titles or
        of text features; for a sentence-transformers model, the model's own.

    Raises:
        RereError: no titles; sentence-transformers is not installed; its model can't be found.
    """
    if not len(titles):
        raise RereError("at least one title to embed", "none", "check the items file and the filters")
    if isinstance(config, SentenceEmbedding):
        return unit(_sentence_vectors(titles, config))
    return unit(_latent_vectors(titles, config, seed))


def _latent_vectors(titles: Sequence[str], config: TitleEmbedding, seed: int) -> np.ndarray:
    """Latent semantic analysis: the left singular vectors of the TF-IDF matrix, times the singular values."""
    words = {"analyzer": "word", "token_pattern": r"\w+"}
    parts = [_tfidf(titles, words), _tfidf(titles, {"analyzer": "char_wb", "ngram_range": (3, 5)})]
    weights = sparse.hstack(parts, format="csr")
    dimensions = min(config.dimensions, *weights.shape)
    if dimensions < 1:  # blank titles only
        return np.zeros((len(titles), 1), dtype=np.float32)
    with np.errstate(invalid="ignore"):  # equal rows have no variance to explain, and none is asked for
        return TruncatedSVD(dimensions, n_iter=7, random_state=seed).fit_transform(weights)


def _tfidf(titles: Sequence[str], options: dict[str, Any]) -> sparse.csr_matrix:
    """(I, F) TF-IDF rows, each of length 1 or 0; F is 0 where no title has a feature."""
    vectorizer = TfidfVectorizer(max_features=FEATURES, sublinear_tf=True, dtype=np.float32, **options)
    analyze = vectorizer.build_analyzer()
    if not any(analyze(title) for title in titles):
        return sparse.csr_matrix((len(titles), 0), dtype=np.float32)
    return vectorizer.fit_transform(titles)


def _sentence_vectors(titles: Sequence[str], config: SentenceEmbedding) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise RereError(
            "the package sentence-transformers, for item vectors of type `sentence_transformer`",
            f"{type(error).__name__}: {error}",
            "run `pip install -e '.[embeddings]'`, or use `embedding: {type: tfidf}`",
        ) from error
    remedy = "check the id or path; without a network use a local directory or `embedding: {type: tfidf}`"
    with reading(f"a sentence-transformers model at {config.model!r}", remedy):
        options = {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}
        model = from_hub(lambda: SentenceTransformer(config.model, revision=config.revision, **options), config.model)
    return np.asarray(model.encode(list(titles), show_progress_bar=False), dtype=np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """(I, D) float32 rows of length 1; a row of zeros becomes the first axis."""
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    empty = lengths[:, 0] < np.finfo(np.float32).eps
    vectors[empty], lengths[empty] = np.eye(1, vectors.shape[1], dtype=np.float32), 1
    return vectors / lengths
