"""The registry of item codes: one line each."""

from __future__ import annotations

from rere.catalog.codes.base import ItemCode
from rere.catalog.codes.file import FileCode
from rere.catalog.codes.item import ItemTokenCode
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode

CODES: tuple[type[ItemCode], ...] = (
    TitleCode,
    PrefixCode,
    SemanticCode,
    ItemTokenCode,
    FileCode,
)
