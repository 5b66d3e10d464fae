"""The base of all settings."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _iso_date(text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no ISO date, such as 2013-01-31") from None
    return text


ISODate = Annotated[str, AfterValidator(_iso_date)]


def _model_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w .-]{0,99}", text):
        raise ValueError("a model is named by up to 100 letters, digits, spaces, dots, dashes and underscores")
    return text


ModelName = Annotated[str, AfterValidator(_model_name)]  # what MLflow, ZenML and file systems take
ColumnKind = Literal["text", "number"]  # of a table's further columns
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys, infinities and NaN refused.

    `renamed` maps keys of earlier versions to today's: an error names the new one.
    """

    renamed: ClassVar[dict[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
