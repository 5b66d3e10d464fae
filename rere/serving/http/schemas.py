"""What goes over HTTP: requests, answers and errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

LONGEST = 512  # characters of an id or a title

Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
Entry = Name | Annotated[int, Field(ge=0, lt=2**63)]  # ids that are numbers may be sent as such


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RecommendRequest(Body):
    history: list[Entry] = Field(min_length=1, description="item ids or exact titles, oldest first")
    k: int = Field(default=10, ge=1, description="items wanted")
    exclude: list[Entry] = Field(default=[], description="ids or titles that must not be recommended")
    seen: Literal["include", "exclude"] = Field(default="include", description="what to do with items of the history")
    deadline_ms: int | None = Field(default=None, ge=1, le=600_000, description="answer within this time, or 408")


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
    items: list[RecommendedItem] = Field(description="best first; fewer than k where the catalogue has no more")
    unknown: list[UnknownEntry] = Field(description="entries of the request that name no item; they were left out")


class FoundItem(BaseModel):
    item_id: str
    title: str


class FoundItems(BaseModel):
    items: list[FoundItem]


class ItemsToAdd(Body):
    items: list[NewItem] = Field(min_length=1)


class NewItem(Body):
    item_id: Name
    title: Name


class ItemIds(Body):
    item_ids: list[Name] = Field(min_length=1)


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


class State(BaseModel):
    status: Literal["ok", "ready", "stopping"]
    model_version: str


class Problem(BaseModel):
    """Every error's body."""

    detail: str
    problems: list[str] = []


ItemsToAdd.model_rebuild()
