"""Training rows for supervised fine-tuning: token ids, labels, and which item each token belongs to.

window    one row per target: the prompt, then the target's tokens; only those are trained (the paper's)
sequence  one row per stretch of a user's history, in which every next item is a target. The targets are the
          same, and each target's tokens attend to at most `history_items` earlier items, as in its window.
          (Through the layers a later token still receives a little from earlier items: the receptive field
          is that of a sliding window, not exactly the window's.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from rere.catalog.index import CatalogIndex
from rere.data.stretches import follows
from rere.errors import RereError
from rere.models.trunks import HEAD, PADDING, item_mask
from rere.training.instructions import HeadDraw

# input_ids, labels; items: indices of history and targets; untrained: number of items that aren't targets
Row = dict[str, Any]
NUMBER = "number"  # key of a row whose instruction is drawn: its number among the training rows
ALIGNED = "aligned"  # key of a row's weight in alignment (rere/training/sft/alignment.py); 0 in rows of next items
FOLD = "fold"  # key of a row's fold of users, for a cross-fitted teacher
IGNORED = -100  # the label that the loss ignores


class Stretch(NamedTuple):
    """A stretch of a user's history: item indices, oldest first, of which the first `context` are no targets."""

    items: list[int]
    context: int


def window_rows(rows: pd.DataFrame, catalog: CatalogIndex) -> Iterator[Row]:
    """One training row per window."""
    for history, target in zip(rows["history"], rows["target"], strict=True):
        items = [catalog.index_of[item] for item in [*history, target]]
        prompt, tokens = catalog.prompt(items[:-1]), catalog.item_tokens[items[-1]]
        labels = [IGNORED] * len(prompt) + tokens
        yield {"input_ids": prompt + tokens, "labels": labels, "items": items, "untrained": len(items) - 1}


def sequence_rows(rows: pd.DataFrame, catalog: CatalogIndex, history_items: int, sequence_items: int) -> Iterator[Row]:
    """The rows of windows' stretches, see `stretch_rows`."""
    return stretch_rows(stretches_of(rows, catalog, history_items), catalog, history_items, sequence_items)


def stretch_rows(
    stretches: Iterable[Stretch], catalog: CatalogIndex, history_items: int, sequence_items: int
) -> Iterator[Row]:
    """Rows of up to `sequence_items` items: up to `history_items` of context, the rest targets.

    Raises:
        RereError: prompts with something after the history, which would stand between an item and the next.
    """
    if catalog.prompt_tail:
        raise RereError(
            "prompts that end with the history, for `sft.rows: sequence`",
            "a chat template",
            "set `sft: {rows: window, distillation: null}`, or `catalog.prompt: plain`",
        )
    step = max(1, sequence_items - history_items)
    for items, context in stretches:
        for start in range(context, len(items), step):
            first = max(0, start - history_items)
            yield sequence_row(items[first : start + step], start - first, catalog)


def stretches_of(rows: pd.DataFrame, catalog: CatalogIndex, history_items: int) -> list[Stretch]:
    """The runs of windows whose histories continue one another."""
    begins = np.flatnonzero(~follows(rows, history_items))
    histories, targets = rows["history"], rows["target"].tolist()
    found = []
    for first, end in itertools.pairwise([*begins.tolist(), len(rows)]):
        context = histories.iloc[first]
        found.append(Stretch([catalog.index_of[item] for item in [*context, *targets[first:end]]], len(context)))
    return found


def sequence_row(items: Sequence[int], untrained: int, catalog: CatalogIndex) -> Row:
    """One row of item indices, of which all but the first `untrained` are targets."""
    tokens = list(catalog.prompt_head)
    labels, owner = [IGNORED] * len(tokens), [HEAD] * len(tokens)
    for position, item in enumerate(items):
        own = catalog.item_tokens[item]
        tokens += own
        labels += own if position >= untrained else [IGNORED] * len(own)
        owner += [position] * len(own)
    return {"input_ids": tokens, "labels": labels, "owner": owner, "items": list(items), "untrained": untrained}


def with_head(row: Row, draw: HeadDraw) -> Row:
    """The row with the drawn instruction in place of the first; itself where it has no number."""
    if row.get(NUMBER) is None:
        return row
    head, first = draw(row[NUMBER]), len(draw.heads[0])
    fill = {"input_ids": list(head), "labels": [IGNORED] * len(head), "owner": [HEAD] * len(head)}
    return {**row, **{name: own + list(row[name])[first:] for name, own in fill.items() if name in row}}


class Collator:
    """Pad rows to a batch; sequence rows get the 4-D mask of their sliding item window.

    Without rows the batch is one untrained token, because a process without rows must still take part in the forward.

    Args:
        draw: of the instructions of rows that have a number; replaced at each epoch. None: rows are as they are.
    """

    def __init__(self, pad: int, history_items: int, draw: HeadDraw | None = None) -> None:
        self.pad, self.history_items, self.draw = pad, history_items, draw

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """input_ids, labels: (B, T) int64; attention_mask: (B, T), or (B, 1, T, T) bool for sequences.

        Sequences also have position_ids (B, T), which some models (OPT) would derive from the mask. With alignment,
        aligned (B,) float32.
        """
        if not rows:
            pad = torch.tensor([[self.pad]])
            return {"input_ids": pad, "labels": torch.full_like(pad, IGNORED), "attention_mask": torch.ones_like(pad)}
        if self.draw is not None:
            rows = [with_head(row, self.draw) for row in rows]

        def padded(name: str, fill: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [torch.as_tensor(row[name]) for row in rows], batch_first=True, padding_value=fill
            )

        batch = {"input_ids": padded("input_ids", self.pad), "labels": padded("labels", IGNORED)}
        if ALIGNED in rows[0]:
            batch[ALIGNED] = torch.tensor([row[ALIGNED] for row in rows])
        if "owner" not in rows[0]:
            lengths = torch.tensor([len(row["input_ids"]) for row in rows])
            return {**batch, "attention_mask": (torch.arange(batch["labels"].shape[1]) < lengths[:, None]).long()}
        owner = padded("owner", PADDING)
        positions = torch.arange(owner.shape[1]).repeat(len(owner), 1)  # expanded ones can't be pinned for a GPU
        mask = item_mask(owner, self.history_items)
        return {**batch, "attention_mask": mask[:, None], "position_ids": positions}
