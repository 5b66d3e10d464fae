"""What goes over HTTP: requests, answers and errors."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from rere.data.titles import ID_CHARACTERS, JOINERS, LINE_PARTS, UNWANTED

LONGEST = 512  # characters of an id or a title


def _characters(*classes: re.Pattern[str]) -> str:
    """What is in these character classes, spelt so that every dialect of regular expressions reads it."""
    text = "".join(each.pattern[1:-1] for each in classes).replace("\ud800-\udfff", "")  # no JSON text has a surrogate
    return "".join(c if c == "-" or ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)


def _one_form(title: str) -> str:
    """Spellings that Unicode calls equal are one title."""
    return unicodedata.normalize("NFC", title)


SPACES = re.compile("[\x1c-\x20\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_WORD = f"[^{_characters(UNWANTED, LINE_PARTS, SPACES)}]"
_FIRST = f"[^{_characters(UNWANTED, LINE_PARTS, SPACES, JOINERS)}]"

NewId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_CHARACTERS, pattern=f"^[^{_characters(UNWANTED, LINE_PARTS)}]+$"),
]
NewTitle = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST, pattern=f"^{_FIRST}{_WORD}*( {_WORD}+)*$"),
    AfterValidator(_one_form),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
Entry = Name | Annotated[int, Field(ge=0), Whole]  # ids that are numbers may be sent as such


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RecommendRequest(Body):
    history: list[Entry] = Field(description="item ids or exact titles, oldest first")
    k: Annotated[int, Field(ge=1), Whole] = Field(default=10, description="items wanted")
    exclude: list[Entry] = Field(default=[], description="ids or titles that must not be recommended")
    seen: Literal["include", "exclude"] = Field(default="include", description="what to do with items of the history")
    deadline_ms: Annotated[int, Field(ge=50, le=600_000), Whole] | None = Field(
        default=None, description="answer within this time, or 408"
    )


class RecommendedItem(BaseModel):
    rank: int
    item_id: str
    title: str
    score: float = Field(description="log-probability (nats)")


class UnknownEntry(BaseModel):
    entry: str
    reason: str


class RecommendResponse(BaseModel):
    model_version: str
    based_on: Literal["history", "popularity"] = Field(
        description="popularity: the history names no known item, so this is what most users took"
    )
    items: list[RecommendedItem] = Field(description="best first; fewer than k where the catalogue has no more")
    unknown: list[UnknownEntry] = Field(description="entries of the request that name no item; they were left out")


class FoundItem(BaseModel):
    item_id: str
    title: str


class FoundItems(BaseModel):
    items: list[FoundItem]


class NewItem(Body):
    item_id: NewId
    title: NewTitle = Field(description="one line, single spaces, nothing invisible")


class Kept(BaseModel):
    durable: bool = Field(
        description="whether the change is on disk; false: it is in effect, and written as soon as it can"
    )
    problem: str = Field(description="why it isn't on disk; empty when it is")


class Added(Kept):
    new: int = Field(description="items that the catalogue did not have")
    restored: int = Field(description="items that it had; they are offered again, if they were not")


class Changed(Kept):
    unknown: list[str] = Field(description="remove: ids not in the present catalogue; restore: ids not removed")


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    model_version: str


class Readiness(BaseModel):
    status: Literal["ready", "stopping"]
    model_version: str = Field(description="the version that is served")
    wanted_version: str | None = Field(
        description="the version that the registry's alias names; another one is being loaded, or can't be. null: none"
    )


class Problem(BaseModel):
    """Every error's body."""

    detail: str
    problems: list[str] = []
