"""Alignment: rows that teach a pretrained model what codes of new tokens mean, beside those of next items.

Of every item a row asks for the code by its title, and one for the title by its code (LC-Rec, arXiv 2311.09049); one
for the code by all that is known of the item, where the settings ask. What is asked for is scored over the whole
vocabulary: a title is free text. Validation rows are those of next items alone, so losses with and without alignment
compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from rere.catalog.index import CatalogIndex
from rere.catalog.prompts import plain_head
from rere.catalog.tokenization import end_token, spell
from rere.config.sft import Alignment
from rere.errors import RereError
from rere.models.child_log_probs import child_log_probs
from rere.models.heads import Head
from rere.models.trunks import HEAD
from rere.training.rows import ALIGNED, IGNORED, Row
from rere.training.sft.catalogue_loss import CatalogueLoss

TITLE, CODE, TEXT = (
    "Title:\n",
    "Code:\n",
    "Description:\n",
)  # each on a line of its own, so that it is spelt as in a history


def alignment_rows(catalog: CatalogIndex, config: Alignment) -> Iterator[Row]:
    """The rows of one epoch: for each item and task.

    Raises:
        RereError: codes that are made of titles, or a backbone that has read none (see `IndexConfig.alignable`); titles
            that can't be spelt.
    """
    if not catalog.config.alignable:
        kind, backbone = catalog.config.code.type, catalog.config.backbone.type
        raise RereError(
            "codes of new tokens (`code: semantic` or `file`) and a pretrained backbone, for `sft.alignment`",
            f"`code: {kind}`, `backbone: {{type: {backbone}}}`",
            "set `sft.alignment: null`",
        )
    if config.text_to_code and not catalog.config.text_columns:
        raise RereError("`catalog.text_columns`, for `sft.alignment.text_to_code`", "none", "name some, or set it to 0")
    tokenizer = catalog.tokenizer
    end, titles = end_token(tokenizer), spell(tokenizer, catalog.titles)
    texts = spell(tokenizer, catalog.descriptions) if config.text_to_code else titles
    first = {name: plain_head(tokenizer, name) for name in (TITLE, CODE, TEXT)}
    second = {name: tokenizer.encode(f"\n{name}", add_special_tokens=False) for name in (TITLE, CODE)}
    for title, code, text in zip(titles, catalog.item_tokens, texts, strict=True):
        if config.title_to_code:
            yield _row([*first[TITLE], *title, *second[CODE]], code, config.title_to_code)
        if config.code_to_title:
            yield _row([*first[CODE], *code, *second[TITLE]], [*title, end], config.code_to_title)
        if config.text_to_code:
            yield _row([*first[TEXT], *text, *second[CODE]], code, config.text_to_code)


def _row(prompt: list[int], wanted: list[int], weight: float) -> Row:
    """A row that has no next item, and in which each token sees all before it, as a head's tokens do."""
    tokens, labels = [*prompt, *wanted], [IGNORED] * len(prompt) + wanted
    return {
        "input_ids": tokens,
        "labels": labels,
        "owner": [HEAD] * len(tokens),
        "items": [],
        "untrained": 0,
        ALIGNED: weight,
    }


class AlignedLoss:
    """The sum over trained tokens (nats): next items by their own loss, alignment over the vocabulary, by weight.

    Args:
        items: the loss of next items; None: over the vocabulary too.
    """

    def __init__(self, items: CatalogueLoss | None) -> None:
        self.items = items

    def __call__(
        self,
        head: Head,
        hidden: torch.Tensor,
        *,
        labels: torch.Tensor,
        aligned: torch.Tensor | None = None,
        **rest: Any,
    ) -> torch.Tensor:
        """A scalar.

        Args:
            aligned: (B,) weight of each row of alignment, 0 for rows of next items; None: no row is of alignment.
            rest: of `CatalogueLoss`.
        """
        aligned = torch.zeros(len(labels), device=labels.device) if aligned is None else aligned
        total = hidden.sum() * 0.0  # a process without rows has a gradient too
        if self.items is not None:
            total = total + self.items(head, hidden, labels=labels, **rest)
            weight = aligned
        else:
            weight = torch.where(aligned > 0, aligned, 1.0)
        weights = torch.where(labels[:, 1:] == IGNORED, 0.0, weight[:, None])
        at = weights > 0
        if at.any():
            one = torch.ones(int(at.sum()), dtype=torch.int64, device=labels.device)
            log_probs = child_log_probs(head, hidden[:, :-1][at], labels[:, 1:][at], one, "vocab")
            total = total - (weights[at] * log_probs).sum()
        return total
