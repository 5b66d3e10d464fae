"""Settings of the data: what sources share, the split, validation, prediction rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from rere.config.base import ColumnKind, ISODate, Settings
from rere.config.variants import Variant


def _known_zone(name: str) -> str:
    if name != "UTC" and name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


def at_home(path: Path) -> Path:
    """`~` is the home of whoever starts the run."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error


SourcePath = Annotated[Path, AfterValidator(at_home)]


def _url_or_path(given: object) -> str | Path:
    if isinstance(given, str) and "://" in given:
        if "@" in given.partition("://")[2].partition("/")[0]:
            raise ValueError("a URL here holds no name and password, since settings are on record")
        return given
    if not isinstance(given, (str, Path)):
        raise ValueError("a path or a URL")
    return at_home(Path(given))


Place = Annotated[str | Path, BeforeValidator(_url_or_path)]  # a path, or a URL such as s3://bucket/folder


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


class SourceSettings(Variant):
    """What the settings of all sources have."""

    @property
    def further_columns(self) -> dict[str, ColumnKind]:
        """Columns of the items that are kept beside id and title, with what they hold."""
        return {}


class TableColumns(SourceSettings):
    """What the columns of a pair of tables are called, which others of the items are kept, and how files are read."""

    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    items_id_column: str | None = Field(default=None, description="the id's column in items; null: `item_column`")
    title_column: str = "title"
    time_zone: TimeZone = Field(default="UTC", description="IANA name: where ISO times without an offset are local")
    item_columns: dict[str, ColumnKind] = Field(
        default={},
        description="other columns of items, for rewards of your own and for catalog.text_columns, as "
        "{brand: text, price: number}",
    )
    interactions_format: TableFormat = TableFormat()
    items_format: TableFormat = TableFormat()

    @property
    def further_columns(self) -> dict[str, ColumnKind]:
        """See `SourceSettings`."""
        return self.item_columns

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
