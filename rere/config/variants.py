"""Settings that come in variants: `type` says which one is meant, and a registry above this package lists them.

A variant's settings stand in its own file, beside the code they are for. A setting names the registry by import path;
pydantic reads it when the settings are first used, so no module here imports what it sets.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from rere.config.base import Settings


class Variant(Settings):
    """Settings of one variant. Each fixes `type` to its name: `type: Literal["name"] = "name"`."""

    type: str

    @classmethod
    def type_name(cls) -> str:
        """The name by which settings choose this variant."""
        name: str = cls.model_fields["type"].default
        return name


@dataclass(frozen=True)
class OneOf:
    """Marks a setting that is one of a registry's variants: `Annotated[Variant, OneOf("package.module:NAME")]`.

    YAML gives `{type: name, ...}`, or the name alone where the variant's defaults will do.

    Args:
        registry: import path of the variants, or of a function that returns them.
    """

    registry: str

    def types(self) -> dict[str, type[Variant]]:
        """Name -> settings of each variant; imports the registry."""
        module, name = self.registry.split(":")
        found = getattr(importlib.import_module(module), name)
        variants: Iterable[type[Variant]] = found() if callable(found) else found
        return {variant.type_name(): variant for variant in variants}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(variant) for name, variant in self.types().items()}
        union = core_schema.tagged_union_schema(choices, discriminator="type", from_attributes=True)
        return core_schema.no_info_before_validator_function(_named, union)


def _named(value: Any) -> Any:
    """A name alone is a variant with its defaults."""
    return {"type": value} if isinstance(value, str) else value
