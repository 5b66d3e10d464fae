"""The registry of data sources: one line each."""

from __future__ import annotations

from rere.data.sources.amazon import AmazonReviews
from rere.data.sources.base import Source
from rere.data.sources.hub import HubDataset
from rere.data.sources.movielens import MovieLens100K
from rere.data.sources.tables import Tables
from rere.data.sources.window_files import WindowFiles

SOURCES: tuple[type[Source], ...] = (
    MovieLens100K,
    Tables,
    AmazonReviews,
    WindowFiles,
    HubDataset,
)
