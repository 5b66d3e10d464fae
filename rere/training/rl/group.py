"""The input of a reward: the candidates of some prompts, and what is known of their items and histories.

Axes: P prompts, G candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch

from rere.catalog.index import CatalogIndex
from rere.config.catalog import Embedding
from rere.config.reading import meant

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

T = TypeVar("T")
Column = Sequence[str] | torch.Tensor


@dataclass(frozen=True)
class ItemFacts:
    """The catalogue's I items, by index.

    ids, titles: as in the data
    tokens: each item's code, token ids
    popularity: (I,) int64, training rows whose target the item is
    columns: name -> I texts, or (I,) float64; those that the source's `item_columns` names
    """

    ids: Sequence[str]
    titles: Sequence[str]
    tokens: Sequence[Sequence[int]]
    popularity: Int[Tensor, " I"]
    columns: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: CatalogIndex, popularity: Int[Tensor, " I"]) -> ItemFacts:
        """The facts of a catalogue's items, with its further columns."""
        columns: dict[str, Column] = {
            name: torch.from_numpy(catalog.columns[name].to_numpy(copy=True))
            if kind == "number"
            else catalog.columns[name].fillna("").tolist()
            for name, kind in catalog.column_kinds.items()
        }
        return cls(catalog.item_ids, catalog.titles, catalog.item_tokens, popularity, columns)


@dataclass(frozen=True)
class Group:
    """P prompts with G candidates each; tensors are (P, G) unless said otherwise.

    items: int64 item indices of the candidates, -1 for what is no item
    targets: (P,) int64 item indices
    hits: bool, the candidate is the target
    rank: int64, 1-based, by the policy's score
    valid: bool, False where there is no candidate
    similarities: float by settings of item vectors, cosine of the candidate's and the target's vectors; one for each
        `embedding` of the `semantic` rewards
    teacher: float, an item model's log-probability (nats); only if a `collaborative` reward is set
    following: P lists of item indices, what the user took after the target, soonest first; only if a `next_items`
        reward is set
    catalog: what is known of the items
    histories: P lists of item indices, oldest first
    row_ids: P numbers of the prompts' rows in the windows
    """

    items: Int[Tensor, "P G"]
    targets: Int[Tensor, " P"]
    hits: Bool[Tensor, "P G"]
    rank: Int[Tensor, "P G"]
    valid: Bool[Tensor, "P G"]
    similarities: Mapping[Embedding, Float[Tensor, "P G"]] = field(default_factory=dict)
    teacher: Float[Tensor, "P G"] | None = None
    following: Sequence[Sequence[int]] | None = None
    catalog: ItemFacts | None = None
    histories: Sequence[Sequence[int]] = ()
    row_ids: Sequence[int] = ()

    @property
    def similarity(self) -> Float[Tensor, "P G"] | None:
        """(P, G) the one of `similarities`; None without any.

        Raises:
            LookupError: several.
        """
        if len(self.similarities) > 1:
            raise LookupError("one similarity for each `embedding` of the semantic rewards; take `similarities`")
        return next(iter(self.similarities.values()), None)

    @cached_property
    def item_ids(self) -> list[list[str]]:
        """(P, G) ids of the candidates; "" for what is no item."""
        return self._named(self._facts.ids, "")

    @cached_property
    def titles(self) -> list[list[str]]:
        """(P, G) titles of the candidates; "" for what is no item."""
        return self._named(self._facts.titles, "")

    @cached_property
    def tokens(self) -> list[list[Sequence[int]]]:
        """(P, G) token ids of the candidates' codes; empty for what is no item."""
        return self._named(self._facts.tokens, ())

    @cached_property
    def popularity(self) -> Int[Tensor, "P G"]:
        """(P, G) int64 training rows whose target the candidate is; 0 for what is no item."""
        counts = self._facts.popularity.to(self.items.device)
        return counts[self.items.clamp(min=0)].masked_fill(self.items < 0, 0)

    @cached_property
    def target_ids(self) -> list[str]:
        """(P,) ids of the targets."""
        return [self._facts.ids[item] for item in self.targets.tolist()]

    @cached_property
    def target_titles(self) -> list[str]:
        """(P,) titles of the targets."""
        return [self._facts.titles[item] for item in self.targets.tolist()]

    @cached_property
    def target_tokens(self) -> list[Sequence[int]]:
        """(P,) token ids of the targets' codes."""
        return [self._facts.tokens[item] for item in self.targets.tolist()]

    @cached_property
    def history_ids(self) -> list[list[str]]:
        """P lists of the ids in the prompts, oldest first."""
        return [[self._facts.ids[item] for item in history] for history in self.histories]

    @cached_property
    def history_titles(self) -> list[list[str]]:
        """P lists of the titles in the prompts, oldest first."""
        return [[self._facts.titles[item] for item in history] for history in self.histories]

    def item_column(self, name: str) -> list[list[str]] | torch.Tensor:
        """(P, G) texts or float64 numbers of the candidates.

        What is no item has "" or 0; an item whose value is missing has "" or NaN.

        Args:
            name: one that the source's `item_columns` names.

        Raises:
            LookupError: another name.
        """
        values = self._column(name)
        if isinstance(values, torch.Tensor):
            found = values.to(self.items.device)[self.items.clamp(min=0)]
            return found.masked_fill(self.items < 0, 0)
        return self._named(values, "")

    def target_column(self, name: str) -> list[str] | torch.Tensor:
        """(P,) texts or numbers of the targets, as `item_column`."""
        values = self._column(name)
        if isinstance(values, torch.Tensor):
            return values.to(self.targets.device)[self.targets]
        return [values[item] for item in self.targets.tolist()]

    def history_column(self, name: str) -> list[list[str]] | list[torch.Tensor]:
        """P lists of texts, or P tensors of numbers, of the items in the prompts, oldest first; as `item_column`."""
        values = self._column(name)
        if isinstance(values, torch.Tensor):
            return [values[list(history)] for history in self.histories]
        return [[values[item] for item in history] for history in self.histories]

    def _column(self, name: str) -> Column:
        known = self._facts.columns
        if name not in known:
            hint = meant(name, known) or "; name it under `item_columns` of the source"
            raise LookupError(f"no item column {name!r}{hint}")
        return known[name]

    @property
    def _facts(self) -> ItemFacts:
        assert self.catalog is not None
        return self.catalog

    def _named(self, values: Sequence[T], none: T) -> list[list[T]]:
        return [[values[item] if item >= 0 else none for item in row] for row in self.items.tolist()]
