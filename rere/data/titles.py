"""Titles as a tokenizer should see them: one Unicode form, nothing invisible, one line. And ids that hide nothing."""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from rere.errors import RereError

ID_CHARACTERS = 256  # at most: an id can become part of a title, whose length is bounded
# Control characters that are no white space, lone surrogates, the byte order mark, the marks that reorder text, and
# characters that no one sees and no script needs: two titles that look equal should be, and tag characters hide whole
# sentences. (Zero-width joiners stay: emoji and several scripts need them. The flags of England, Scotland and Wales
# are spelt with tag characters, and lose them.)
UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u00ad\u200b\u2060-\u2065\u206a-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]"
)
LINE_PARTS = re.compile("[\x09-\x0d\x85\u2028\u2029]")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
JOINERS = re.compile("[\u200c\u200d\ufe0e\ufe0f]")  # join or vary what is visible; alone they are nothing


def normalise_titles(
    titles: pd.Series, limit: int, entities: Literal["decode", "keep"] = "keep"
) -> tuple[pd.Series, dict[str, int]]:
    """Normalised titles, and how many each rule changed.

    Args:
        titles: text; blank ones stay blank.
        limit: characters at most; a longer title is cut at the last space that fits, else at the limit.
        entities: what becomes of HTML's, such as `&amp;`; only those that end in a semicolon are any.
    """
    counts = dict.fromkeys(
        (
            "titles with HTML entities decoded",
            "titles with control, bidirectional or invisible characters removed",
            "titles brought to Unicode form NFC",
            "titles with white space collapsed",
            f"titles cut to {limit} characters",
        ),
        0,
    )
    done = []
    for title in titles:
        stages = [title]
        stages.append(ENTITY.sub(_decoded, title) if entities == "decode" else title)
        stages.append(_seen(stages[-1]))
        stages.append(unicodedata.normalize("NFC", stages[-1]))
        stages.append(" ".join(stages[-1].split()))
        stages.append(_cut(stages[-1], limit))
        for rule, before, after in zip(counts, stages[:-1], stages[1:], strict=True):
            counts[rule] += before != after
        done.append(stages[-1])
    return pd.Series(done, index=titles.index, dtype="str"), counts


def is_plain(text: str) -> bool:
    """Whether an id can stand in a list, a message or a title without harm. It is never changed: it is an identity."""
    return len(text) <= ID_CHARACTERS and not UNWANTED.search(text) and not LINE_PARTS.search(text)


def require_plain(items: Mapping[str, str]) -> None:
    """RereError for items (id -> title) that ingest would refuse or change; for those that come another way."""
    titles = pd.Series(list(items.values()), dtype=object)  # a lone surrogate is no proper text
    cleaned = normalise_titles(titles, 1 << 30)[0]
    odd = [item for item in items if not is_plain(item)]
    odd += [title for title, clean in zip(titles, cleaned, strict=True) if title != clean]
    if odd:
        raise RereError(
            f"ids of at most {ID_CHARACTERS} characters, titles of one line, nothing invisible in either",
            ", ".join(f"{text[:80]!r}" for text in odd[:5]),
            "correct them",
        )


def _decoded(entity: re.Match[str]) -> str:
    """Its character; an unknown one stays, also where it only begins like another (`&notit;`)."""
    known = entity[0][1] == "#" or entity[0][1:] in html.entities.html5
    return html.unescape(entity[0]) if known else entity[0]


def _seen(title: str) -> str:
    """Without invisible characters; a title of joiners only becomes empty."""
    kept = UNWANTED.sub("", title)
    return kept if (alone := JOINERS.sub("", kept)).strip() else alone


def _cut(title: str, limit: int) -> str:
    if len(title) <= limit:
        return title
    head, space, _ = title[: limit + 1].rpartition(" ")
    return head if space else title[:limit]
