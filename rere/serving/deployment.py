"""A model version while it is served: weights, live catalogue, and the search over a batch of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation
from rere.context import REMEDY, longest_possible, require_room
from rere.decoding.beam import BeamSearch
from rere.decoding.exclusion import Exclusions
from rere.decoding.prefix_cache import PrefixCache
from rere.decoding.tree_attention import TreeModel
from rere.language_model import Checkpoint
from rere.serving.live import Snapshot


@dataclass(frozen=True)
class Ranked:
    """items: indices into `snapshot`, best first; scores: their log-probabilities (nats)."""

    items: list[int]
    scores: list[float]
    snapshot: Snapshot


@dataclass(eq=False)
class Job:
    """One request on its way: what is asked of which model, until when.

    history: item indices, oldest first; excluded: item indices; deadline: of `time.monotonic`
    abandoned: nobody waits for it any more
    """

    deployment: Deployment
    history: tuple[int, ...]
    k: int
    excluded: frozenset[int]
    deadline: float
    future: Future[Ranked] = field(default_factory=Future)
    abandoned: bool = False

    @property
    def dead(self) -> bool:
        return self.abandoned or time.monotonic() > self.deadline

    @property
    def width(self) -> int:
        """Beams. Only requests of one width share a batch, so that no list depends on its neighbours."""
        return max(self.k, self.deployment.beams)


class Deployment:
    """What is served.

    Args:
        version: how answers and metrics name it.
        history_items: most recent items of a history that the model reads.
        beams: least width of a search.
        prefix_tokens, lookahead_tokens: see `ServingConfig`.

    Attributes:
        snapshot: the catalogue now; replaced whole, by one thread at a time.
    """

    def __init__(
        self,
        version: str,
        model: TreeModel,
        catalog: CatalogIndex,
        history_items: int,
        beams: int,
        normalisation: Normalisation,
        prefix_tokens: int = 0,
        lookahead_tokens: int = 0,
    ) -> None:
        self.version, self.model, self.history_items = version, model, history_items
        self.beams, self.normalisation = beams, normalisation
        self.snapshot = Snapshot.of(catalog, model.device)
        self.lookahead = lookahead_tokens
        self.prefixes = PrefixCache(prefix_tokens) if prefix_tokens else None

    @torch.no_grad()
    def rank(self, jobs: Sequence[Job], unwanted: Callable[[], bool] = lambda: False) -> list[Ranked] | None:
        """Search for jobs of one width together; None when `unwanted` says, between two steps, to give up."""
        snapshot = self.snapshot
        prompts = [snapshot.prompt(job.history) for job in jobs]
        exclusions = None
        if len(snapshot.gone) or any(job.excluded for job in jobs):
            exclusions = Exclusions.of(snapshot.trie, snapshot.gone, [job.excluded for job in jobs])
        search = BeamSearch(
            self.model,
            snapshot.trie,
            prompts,
            jobs[0].width,
            self.normalisation,
            exclusions=exclusions,
            prefixes=self.prefixes,
            lookahead=self.lookahead,
        )
        while search.step():
            if unwanted():
                return None
        found = search.result()
        lists = []
        for job, items, scores in zip(jobs, found.items.tolist(), found.scores.tolist(), strict=True):
            count = sum(item >= 0 for item in items[: job.k])
            lists.append(Ranked(items[:count], scores[:count], snapshot))
        return lists

    def require_room(self, history: Sequence[int]) -> None:
        """Raises RereError where the prompt of a history, with an item after it, is longer than the model's context."""
        catalog, context = self.snapshot.catalog, self.model.context
        if context is not None and longest_possible(catalog, len(history)) > context:  # most are spared the counting
            tokens = len(self.snapshot.prompt(history)) + catalog.trie.max_length
            require_room(context, tokens, f"name fewer items, or train with {REMEDY}")

    def warm_up(self) -> None:
        """Answer one request, so that the first real one isn't slow; raises whatever is wrong with the model."""
        self.rank([Job(self, (0,), 1, frozenset(), float("inf"))])


def load_deployment(
    version: str,
    checkpoint: Path,
    catalog: Path,
    history_items: int,
    beams: int,
    normalisation: Normalisation,
    prefix_tokens: int,
    lookahead_tokens: int,
) -> Deployment:
    """Load a version's sealed directories and warm it up; raises RereError where they are altered or incomplete."""
    model = TreeModel(Checkpoint(checkpoint).load_model())
    index = CatalogIndex.load(catalog)
    deployment = Deployment(version, model, index, history_items, beams, normalisation, prefix_tokens, lookahead_tokens)
    deployment.warm_up()
    return deployment
