"""Settings of ingest: the source, its split and its filters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from rere.config.base import Settings
from rere.config.data import LeaveOneOut, SourceSettings, SplitRule, TrainingCore
from rere.config.variants import OneOf


class IngestConfig(Settings):
    model_config = ConfigDict(defer_build=True)

    source: Annotated[SourceSettings, OneOf("rere.data.sources.registry:SOURCES")] = Field(
        default="movielens_100k", validate_default=True
    )
    split: SplitRule = LeaveOneOut()
    k_core: Annotated[int, Field(ge=1)] | TrainingCore = Field(
        default=TrainingCore(),
        description="a number: the usual k-core, of all interactions, before the split (1 keeps all); or "
        "{type: training_core, k: 5}: of training interactions only, after it",
    )
    orphans: Literal["refuse", "drop"] = Field(
        default="refuse", description="interactions without a user or item, or with an item that the catalogue lacks"
    )
    untitled: Literal["refuse", "drop"] = Field(
        default="refuse", description="items with a blank title, and their interactions"
    )
    unseen: Literal["keep", "drop"] = Field(
        default="keep", description="users and items that never occur in the training period"
    )
    title_entities: Literal["decode", "keep"] = Field(
        default="decode", description="HTML entities in titles, such as &amp; and &#39;; decoded ones are counted"
    )
    title_characters: int = Field(default=512, ge=8, description="longer titles are cut, and counted")
