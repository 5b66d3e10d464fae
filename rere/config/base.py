"""The base of all settings."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _iso_date(text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no ISO date, such as 2013-01-31") from None
    return text


ISODate = Annotated[str, AfterValidator(_iso_date)]
# What MLflow and ZenML take as a name, and a file system as a part of a file's.
ModelName = Annotated[str, StringConstraints(pattern=r"^\w[\w .-]*$", max_length=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys, infinities and NaN refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
