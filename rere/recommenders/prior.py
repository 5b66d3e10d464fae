"""What is known of items without reading text: it is registered and served beside a generative model, or in its stead.

Popularity answers users of whom nothing is known; an item model, where there is one, takes part in every search, or
ranks alone. Items without training interactions, those that are added while serving among them, have a share of their
own: as much of the others' average probability as `new_item_exposure` says. By its `boost` a language model's opinion
of them counts more, or less.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from rere.artifacts.manifest import fingerprint, seal, verify
from rere.catalog.index import CatalogIndex
from rere.catalog.trie import TokenTrie
from rere.config.served_model import LANGUAGE_MODEL, ServedModelConfig
from rere.decoding.boost import Boost
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.errors import RereError
from rere.models.item_tokens import embed_by_titles
from rere.recommenders.item_model import ItemModel, item_log_probs
from rere.recommenders.registry import model_type

RECORD, COUNTS = "prior.json", "counts.safetensors"
LEAST = -600.0  # nats: the least log-probability whose exponential float64 can hold, with room to spare


@dataclass(frozen=True)
class Prior:
    """counts: (I,) int64 training interactions per item of the catalogue.

    item_model: of the same catalogue; None where none takes part
    share: its part in a score, from 0 to 1; 1: it ranks alone, and no language model is served
    boost: the language model's probability of a new item counts this many times, and is read from its title alone;
        None: it is what training left
    """

    counts: np.ndarray
    config: ServedModelConfig
    item_model: ItemModel | None = None
    share: float = 0.0
    boost: float | None = None

    @property
    def alone(self) -> bool:
        """Whether the item model ranks without a language model."""
        return self.share == 1

    @property
    def changes_searches(self) -> bool:
        """Whether a language model's lists are other ones than its own."""
        return bool(self.share) or self.boost is not None

    @property
    def serves(self) -> str:
        """What answers, for people: `rl`, `rl + gru4rec`, `ensemble`."""
        return self.serves_with(LANGUAGE_MODEL)

    def serves_with(self, language_model: str) -> str:
        """The same, where the language model comes from that stage."""
        if self.item_model is None or not self.share:
            return language_model
        kind = self.item_model.kind()
        return kind if self.alone else f"{language_model} + {kind}"

    def require_fits(self, items: int) -> None:
        """RereError unless it is of a catalogue of so many items."""
        if len(self.counts) != items:
            raise RereError(
                f"a prior of the catalogue's {items} items", f"one of {len(self.counts)}", "register the model anew"
            )

    def popularity(self, items: int) -> torch.Tensor:
        """(items,) float64 log-probabilities (nats) of a catalogue that may have grown since."""
        return self._exposed(torch.from_numpy(self.counts).double().log()[None], items, self.counts > 0)[0]

    def log_probs(self, histories: Sequence[Sequence[int]], items: int) -> torch.Tensor:
        """(P, items) float64 log-probabilities (nats) by the item model; by popularity after unknown items alone."""
        assert self.item_model is not None  # nobody asks where none takes part
        size = len(self.counts)
        known = [[item for item in history if item < size] for history in histories]
        rows = [row for row, history in enumerate(known) if history]
        found = self.popularity(items).repeat(len(known), 1)
        if rows:
            told = (self.counts > 0) | self.item_model.reads_titles
            found[rows] = self._exposed(
                item_log_probs(self.item_model, [known[row] for row in rows], size), items, told
            )
        return found

    def in_search(self, trie: TokenTrie, histories: Sequence[Sequence[int]]) -> ItemPrior | None:
        """The item model's part in a search along the trie; None where it has none."""
        if not self.share:
            return None
        log_probs = self.log_probs(histories, trie.items).clamp(min=LEAST).to(trie.token.device)
        return ItemPrior(node_log_mass(trie, log_probs), self.share)

    def new_items(self, items: int) -> torch.Tensor:
        """(items,) bool: which of a catalogue that may have grown since have no training interactions."""
        new = torch.ones(items, dtype=torch.bool)
        new[: len(self.counts)] = torch.from_numpy(self.counts == 0)
        return new

    def boost_in(self, trie: TokenTrie) -> Boost | None:
        """What new items' probabilities are multiplied by in a search along the trie; None where by nothing."""
        return None if self.boost is None else Boost.of(trie, self.new_items(trie.items), self.boost)

    def read_titles(self, model: PreTrainedModel, catalog: CatalogIndex) -> None:
        """Have the language model know new items by their titles alone, where they are to be boosted; it is changed."""
        if self.boost is not None:
            embed_by_titles(model, catalog, self.new_items(len(catalog.items)).nonzero()[:, 0].tolist())

    def _exposed(self, log_probs: torch.Tensor, items: int, told: np.ndarray) -> torch.Tensor:
        """(P, I) -> (P, items) normalised log-probabilities, in which new items have their exposure.

        Args:
            told: (I,) whether an item's log-probability rests on something: training interactions, or its title.
        """
        known = torch.zeros(items, dtype=torch.bool)
        known[: len(told)] = torch.from_numpy(told)
        if not known.any():
            return torch.full((len(log_probs), items), -np.log(items), dtype=torch.float64)
        found = log_probs.new_empty((len(log_probs), items))
        old = log_probs[:, known[: len(told)]].double()
        found[:, known] = old
        average = old.logsumexp(1, keepdim=True) - np.log(int(known.sum()))
        found[:, ~known] = average + np.log(self.config.new_item_exposure)
        return found.log_softmax(1)

    def content(self) -> str:
        """A digest of its files."""
        with tempfile.TemporaryDirectory() as scratch:
            self.save(Path(scratch))
            return fingerprint(verify(Path(scratch)))

    def mebibytes(self) -> float:
        """Size of its files."""
        with tempfile.TemporaryDirectory() as scratch:
            self.save(Path(scratch))
            return sum(file.stat().st_size for file in Path(scratch).iterdir()) / 2**20

    def save(self, directory: Path) -> None:
        """Counts as safetensors, settings as JSON, the item model's own files; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"counts": torch.from_numpy(self.counts.astype(np.int64))}, directory / COUNTS)
        kind = None if self.item_model is None else self.item_model.kind()
        record = {"config": self.config.model_dump(mode="json"), "item_model": kind, "share": self.share}
        record |= {"boost": self.boost}
        (directory / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if self.item_model is not None:
            self.item_model.write(directory)
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> Prior:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        counts = load_file(directory / COUNTS)["counts"].numpy()
        kind = record.get("item_model")
        item_model = None if kind is None else model_type(kind).read(directory)
        config = ServedModelConfig.model_validate(record["config"])
        return cls(counts, config, item_model, record.get("share", 0.0), record.get("boost"))
