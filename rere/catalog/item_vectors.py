"""Item vectors: from titles, from what users took together in the training period, or from both.

Semantic IDs cluster them (rere/catalog/semantic_ids.py); RL's semantic reward compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.catalog.collaborative import collaborative_vectors
from rere.catalog.embeddings import embed_titles, unit
from rere.config.catalog import BothEmbedding, Embedding, FromUsers
from rere.errors import RereError


def item_vectors(
    titles: Sequence[str], config: Embedding, sequences: Sequence[np.ndarray] | None = None, seed: int = 0
) -> np.ndarray:
    """A unit vector for each item. Deterministic for a seed.

    Args:
        titles: I strings, or whatever else describes an item; at least one.
        sequences: each user's items of the training period, as indices of `titles`, oldest first.

    Returns:
        (I, D) float32.

    Raises:
        RereError: as `embed_titles`; vectors from users without sequences.
    """
    if not isinstance(config, FromUsers):
        return embed_titles(titles, config, seed)
    if not any(map(len, sequences or ())):
        raise RereError(
            f"interactions of the training period, for item vectors of type `{config.type}`",
            "none",
            "use more data, or `embedding: {type: tfidf}`",
        )
    from_titles = embed_titles(titles, config.title, seed)
    from_users = collaborative_vectors(sequences or (), from_titles, config, seed)
    if not isinstance(config, BothEmbedding):
        return from_users
    return unit(np.hstack([np.sqrt(1 - config.weight) * from_titles, np.sqrt(config.weight) * from_users]))
