"""Titles as a tokenizer should see them: one Unicode form, no invisible control characters, one line."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

# Control characters that are no white space, lone surrogates, the byte order mark, and the marks that reorder
# text. Zero-width joiners stay: emoji and several scripts need them.
UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def normalise_titles(titles: pd.Series, limit: int) -> tuple[pd.Series, dict[str, int]]:
    """Normalised titles, and how many each rule changed.

    Args:
        titles: text; blank ones stay blank.
        limit: characters at most; a longer title is cut at the last space that fits, else at the limit.
    """
    counts = dict.fromkeys(
        (
            "titles with control or bidirectional characters removed",
            "titles brought to Unicode form NFC",
            "titles with white space collapsed",
            f"titles cut to {limit} characters",
        ),
        0,
    )
    done = []
    for title in titles:
        stages = [title]
        stages.append(UNWANTED.sub("", stages[-1]))
        stages.append(unicodedata.normalize("NFC", stages[-1]))
        stages.append(" ".join(stages[-1].split()))
        stages.append(_cut(stages[-1], limit))
        for rule, before, after in zip(counts, stages[:-1], stages[1:], strict=True):
            counts[rule] += before != after
        done.append(stages[-1])
    return pd.Series(done, index=titles.index, dtype="str"), counts


def _cut(title: str, limit: int) -> str:
    if len(title) <= limit:
        return title
    head, space, _ = title[: limit + 1].rpartition(" ")
    return head if space else title[:limit]
