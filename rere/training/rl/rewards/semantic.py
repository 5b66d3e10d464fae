"""The semantic reward: how near the candidate's vector is to the target's, by default those of their titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rere.config.catalog import Embedding, TitleEmbedding
from rere.training.rl.group import Group
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class SemanticReward(Reward):
    """Cosine of the candidate's and the target's item vectors, negative ones as 0 (ReRe's semantic reward)."""

    type: Literal["semantic"] = "semantic"
    embedding: Embedding = TitleEmbedding()

    @property
    def item_vectors(self) -> Embedding:
        return self.embedding

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        return group.similarities[self.embedding].clamp(min=0).float()
