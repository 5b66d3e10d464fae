"""Settings of the data: sources, the split, ingest, validation, prediction rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from rere.config.base import ColumnKind, ISODate, Settings


def _known_zone(name: str) -> str:
    if name != "UTC" and name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


def _at_home(path: Path) -> Path:
    """`~` is the home of whoever starts the run."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error


SourcePath = Annotated[Path, AfterValidator(_at_home)]


class TableFormat(Settings):
    """How a table's files are read, the same for every source of tables.

    What is left out goes by the file's name: .csv, .tsv, .jsonl (.ndjson, .json), .parquet (.pq), the text ones also
    compressed (.gz, .bz2, .xz, .zst).
    """

    type: Literal["by_name", "text", "json_lines", "parquet"] = "by_name"
    encoding: str = Field(default="utf-8", description="of text and JSON lines: latin-1, cp1252, utf-16, ...")
    delimiter: str | None = Field(
        default=None, min_length=1, description="between fields, one character or more; null: , in .csv, tab in .tsv"
    )
    columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="names of the columns, for a text file without a header line"
    )
    quotes: Literal["one_line", "several_lines", "characters"] = Field(
        default="one_line",
        description='one_line: "..." encloses a field, which ends on its line; several_lines: it may hold line '
        "breaks (RFC 4180); characters: a quote is a character like any other",
    )
    escape: Literal["none", "backslash"] = Field(
        default="none", description="backslash: the character after it is taken as it is, a quote or delimiter too"
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise ValueError(f"{error}; such as utf-8, latin-1, cp1252, utf-16") from error
        return encoding

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str | None) -> str | None:
        delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter
        if delimiter and set(delimiter) & set('"\\\r\n'):
            raise ValueError("a delimiter holds no quote, backslash or line break")
        return delimiter

    @field_validator("columns")
    @classmethod
    def _are_distinct(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns and len(set(columns)) < len(columns):
            raise ValueError(f"each column once, got {', '.join(columns)}")
        return columns


class MovieLens100K(Settings):
    """MovieLens-100K as carried by the `recbole` wheel (found, never imported; SHA-256 checked)."""

    type: Literal["movielens_100k"] = "movielens_100k"


class TableColumns(Settings):
    """What the columns of a pair of tables are called, and which others of the items are kept."""

    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    items_id_column: str | None = Field(default=None, description="the id's column in items; null: `item_column`")
    title_column: str = "title"
    time_zone: TimeZone = Field(default="UTC", description="IANA name: where ISO times without an offset are local")
    item_columns: dict[str, ColumnKind] = Field(
        default={},
        description="other columns of items that rewards of your own may look at, as {brand: text, price: number}",
    )

    @field_validator("item_columns", mode="before")
    @classmethod
    def _say_their_kinds(cls, columns: object) -> object:
        if isinstance(columns, (list, tuple, str)):
            raise ValueError("each column with what it holds: {brand: text, price: number}")
        return columns

    @field_validator("item_columns")
    @classmethod
    def _leave_the_own_names(cls, columns: dict[str, ColumnKind]) -> dict[str, ColumnKind]:
        if taken := sorted({"item_id", "title"} & columns.keys()):
            raise ValueError(f"{' and '.join(taken)} can't be kept: each item has an id and a title anyway")
        return columns


class Tables(TableColumns):
    """Interactions (user, item, time) and items (item, title): a file each, or a directory of files of one kind."""

    type: Literal["tables"] = "tables"
    interactions: SourcePath
    items: SourcePath
    interactions_format: TableFormat = TableFormat()
    items_format: TableFormat = TableFormat()


class AmazonReviews(Settings):
    """Raw Amazon dumps (2014, 2018, 2023): one JSON object or Python literal per line, optionally .gz."""

    type: Literal["amazon_reviews"] = "amazon_reviews"
    reviews: SourcePath
    metadata: SourcePath
    since: ISODate | None = Field(default=None, description="ISO date, inclusive")
    until: ISODate | None = Field(default=None, description="ISO date, exclusive")


class WindowFiles(Settings):
    """One CSV row per window, already split: the format of ReRe's and MiniOneRec's data files."""

    type: Literal["window_files"] = "window_files"
    train: SourcePath
    valid: SourcePath
    test: SourcePath
    items: SourcePath | None = Field(default=None, description="`title<TAB>id` lines; else the rows' own titles")
    format: TableFormat = Field(default=TableFormat(), description="of the three files")


class HubDataset(TableColumns):
    """Data sets of the Hugging Face hub by id, or local directories laid out like them: CSV, JSON lines or Parquet."""

    type: Literal["hub"] = "hub"
    interactions: str
    interactions_config: str | None = None
    interactions_split: str = Field(default="train", description="a split's name, or several joined by +")
    interactions_revision: str = Field(default="main", description="a branch, a tag or, to stay the same, a commit")
    interactions_format: TableFormat = TableFormat()
    items: str
    items_config: str | None = None
    items_split: str = Field(default="train", description="as `interactions_split`")
    items_revision: str = Field(default="main", description="as `interactions_revision`")
    items_format: TableFormat = TableFormat()

    @field_validator("interactions", "items")
    @classmethod
    def _directory_at_home(cls, name: str) -> str:
        return str(_at_home(Path(name))) if name.startswith("~") else name


Source = Annotated[MovieLens100K | Tables | AmazonReviews | WindowFiles | HubDataset, Field(discriminator="type")]


class LeaveOneOut(Settings):
    """A user's last interaction is the test row, the one before it the validation row."""

    type: Literal["leave_one_out"] = "leave_one_out"


class Chronological(Settings):
    """The paper's split: all windows in order of time, cut into train, validation and test shares."""

    type: Literal["chronological"] = "chronological"
    train: float = Field(default=0.8, gt=0, lt=1)
    valid: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _leaves_a_test_share(self) -> Chronological:
        if self.train + self.valid >= 1:
            raise ValueError(f"train + valid must leave a test share, got {self.train} + {self.valid}")
        return self


SplitRule = Annotated[LeaveOneOut | Chronological, Field(discriminator="type")]


class TrainingCore(Settings):
    """The leak-free k-core: the periods first, then users and items need `k` training interactions each.

    The field's k-core (`k_core: 5`) counts all interactions before the split, so that what the test rows hold has a
    say in what stays. This one drops more: under `leave_one_out` a user of five interactions has three in training.
    """

    type: Literal["training_core"] = "training_core"
    k: int = Field(default=5, ge=1, description="training interactions that a user and an item need; 1 keeps all")


class IngestConfig(Settings):
    source: Source = MovieLens100K()
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


class ValidationConfig(Settings):
    minimum_users: int = Field(default=50, ge=1)
    minimum_items: int = Field(default=50, ge=1)
    minimum_interactions: int = Field(default=500, ge=1)
    earliest: ISODate = Field(default="1990-01-01", description="ISO date; older timestamps are an error")
    maximum_gaps: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="of window files: share of rows whose history isn't the user's rows just before; up to it they are "
        "a warning (the files may be a sample), above it an error (their order or their histories are wrong)",
    )
    drift_warning: float = Field(default=0.2, gt=0, description="population stability index")
    failing_rows: int = Field(default=5, ge=1, description="rows named for each failed check")


class SplitConfig(Settings):
    history_items: int = Field(default=10, ge=1, description="most recent items in a prompt")
