"""Title-kNN: items are alike when their titles share words that few titles have. It reads text, and no user's history.

The similarity of two items is the cosine of their titles' TF-IDF vectors (Salton and Buckley, "Term-weighting
approaches in automatic text retrieval", 1988), to the power of `sharpness`; each item keeps its `neighbours` most
similar ones (equal ones by item index). So it also ranks items that nobody took in the training period, which models
of interactions alone can't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from rere.errors import RereError
from rere.recommenders.item_item import NonNegativeModel, RelationConfig, nearest
from rere.recommenders.item_model import FitData

ROWS_AT_ONCE = 1024  # items whose similarities to all others are held at once


class TitleKNNConfig(RelationConfig):
    """Title-kNN by the cosine of the titles' TF-IDF vectors."""

    type: Literal["title_knn"] = "title_knn"
    neighbours: int = Field(default=200, ge=1, description="most similar items kept per item")
    sharpness: float = Field(default=2.0, gt=0, description="the higher, the more the most similar items stand out")


class TitleKNN(NonNegativeModel):
    """A fitted title-kNN; its weights are the kept similarities."""

    title = "title-kNN"
    config_type = TitleKNNConfig
    reads_titles = True

    @classmethod
    def fit_weights(cls, data: FitData, config: TitleKNNConfig) -> csr_array:
        """Similarities of the titles; RereError without a title for each item."""
        if len(data.titles) != data.items:
            raise RereError(f"a title for each of {data.items} items", f"{len(data.titles)}", "fit it with titles")
        return title_similarities(data.titles, config.neighbours, config.sharpness)


def title_similarities(titles: Sequence[str], neighbours: int, sharpness: float) -> csr_array:
    """(I, I) float64: per row at most `neighbours` cosines to the power of `sharpness`, none with the item itself."""
    try:
        vectors = csr_array(TfidfVectorizer(sublinear_tf=True).fit_transform(titles))
    except ValueError:  # no title has a word
        return csr_array((len(titles), len(titles)), dtype=np.float64)
    starts = range(0, len(titles), ROWS_AT_ONCE)
    found = nearest((csr_array(vectors[start : start + ROWS_AT_ONCE] @ vectors.T) for start in starts), neighbours)
    found.data **= sharpness
    return found
