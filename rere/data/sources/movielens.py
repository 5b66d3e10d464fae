"""Source: MovieLens-100K from the `recbole` wheel, which is found but never imported."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Literal

import pandas as pd

from rere.artifacts.manifest import sha256
from rere.data.origin import Segment
from rere.data.raw import RawData, interactions_frame, items_frame
from rere.data.sources.base import Source
from rere.data.times import read_times
from rere.errors import RereError

PACKAGE = "recbole"
INSTALL = "pip install --no-deps recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k/"
SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}


class MovieLens100K(Source):
    """MovieLens-100K as carried by the `recbole` wheel (found, never imported; SHA-256 checked)."""

    type: Literal["movielens_100k"] = "movielens_100k"

    def files(self) -> list[Path]:
        """Where the installed package keeps the two files; RereError with the pip command when it doesn't."""
        try:
            listed = metadata.files(PACKAGE)
        except metadata.PackageNotFoundError:
            raise RereError(f"MovieLens-100K in the installed package {PACKAGE}", "no such package", INSTALL) from None
        paths = {path.name: Path(str(path.locate())) for path in listed or () if str(path).startswith(FOLDER)}
        missing = [name for name in SHA256 if name not in paths or not paths[name].is_file()]
        if missing:
            raise RereError(f"{FOLDER}{missing[0]} in the package {PACKAGE}", "no such file", INSTALL)
        return [paths[name] for name in SHA256]

    def load(self) -> RawData:
        """100,000 ratings taken as interactions, 1,682 titles with their year: "Toy Story (1995)".

        Raises:
            RereError: the package is missing, or its files are not the ones we know.
        """
        found = {path.name: path for path in self.files()}
        for name, path in found.items():
            if (digest := sha256(path)) != SHA256[name]:
                raise RereError(f"{path} with SHA-256 {SHA256[name]}", digest, f"{INSTALL} --force-reinstall")
        ratings, films = (
            pd.read_csv(found[name], sep="\t", dtype=str, keep_default_na=False, quoting=3) for name in SHA256
        )
        # Two of the 1,682 have no four-digit year: one title holds its year already, one film is unknown.
        year = films["release_year:token"]
        dated = year.str.fullmatch(r"\d{4}")
        title = films["movie_title:token_seq"]
        items, _ = items_frame(films["item_id:token"], title.where(~dated, title + " (" + year + ")"))
        return RawData(
            name="MovieLens-100K",
            interactions=interactions_frame(
                ratings["user_id:token"],
                ratings["item_id:token"],
                read_times(ratings["timestamp:float"], f"column 'timestamp:float' of {found['ml-100k.inter']}", 2),
            ),
            items=items,
            sha256=dict(SHA256),
            segments={
                "interactions": [Segment(0, str(found["ml-100k.inter"]), 2)],
                "items": [Segment(0, str(found["ml-100k.item"]), 2)],
            },
        )
