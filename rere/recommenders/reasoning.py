"""A model that reasons before it ranks: it writes a text, and its recommendation head ranks the catalogue after it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import pad

from rere.catalog.index import CatalogIndex
from rere.decoding.reasoning import read, reasoning_tree, write
from rere.models.checkpoint import Checkpoint
from rere.models.recommendation_head import RecommendationHead
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Ranking
from rere.recommenders.generative import rank_in_batches


class ReasoningRecommender:
    """Ranks the whole catalogue by the head's log-probabilities, after the likeliest reasoning, token by token.

    Args:
        name: how results are labelled.
        model: a loaded model in evaluation mode; see `load`.
        batch_prompts: prompts per forward.
    """

    def __init__(
        self, name: str, model: TreeModel, head: RecommendationHead, catalog: CatalogIndex, *, batch_prompts: int = 64
    ) -> None:
        self.name, self.model, self.head, self.catalog = name, model, head, catalog
        self.batch_prompts = batch_prompts

    @classmethod
    def load(cls, name: str, path: Path, catalog: CatalogIndex, *, batch_prompts: int = 64) -> ReasoningRecommender:
        """From a checkpoint of `train_reasoning`; raises RereError as `RecommendationHead.load`."""
        model = TreeModel(Checkpoint(path).load_model())
        head = RecommendationHead.load(path, catalog, model.device)
        return cls(name, model, head, catalog, batch_prompts=batch_prompts)

    @torch.no_grad()
    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """The k best items of each history (item indices, oldest first): see `Recommender`."""
        prompts = [self.catalog.prompt(history) for history in histories]
        most = min(k, len(self.head.bias))

        def rank(batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            own, writing = [prompts[row] for row in batch], self.head.writing
            tree = reasoning_tree(self.model, own, write(self.model, own, writing), writing)
            _, states = read(self.model, tree)
            scores, items = self.head(states[:, 0]).topk(most)
            return pad(items, (0, k - most), value=-1), pad(scores, (0, k - most), value=-torch.inf)

        return rank_in_batches(f"{self.name}: reasoning", prompts, k, self.batch_prompts, rank)

    def reasonings(self, histories: Sequence[Sequence[int]]) -> list[str]:
        """What the model writes for each history; items that are written by tokens of their own, by their titles."""
        prompts = [self.catalog.prompt(history) for history in histories]
        return [self._text(own) for (own,) in write(self.model, prompts, self.head.writing)]

    def _text(self, tokens: Sequence[int]) -> str:
        spell = self.catalog.tokenizer
        titles: dict[int, str] = {}
        if self.catalog.config.code.one_token:
            titles = {own[0]: title for own, title in zip(self.catalog.item_tokens, self.catalog.titles, strict=True)}
        parts: list[str] = []
        for is_item, run in itertools.groupby(tokens, lambda token: token in titles):
            own = list(run)
            if is_item:
                parts += [f"[{titles[token]}]" for token in own]
            else:
                parts.append(str(spell.decode(own, skip_special_tokens=True)))
        return "".join(parts)
