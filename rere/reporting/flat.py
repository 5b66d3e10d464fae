"""Nested records as dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all that nested mappings, and lists of mappings, hold."""
    if isinstance(value, Mapping):
        named = [(str(name), inner) for name, inner in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        named = [(str(n), inner) for n, inner in enumerate(value)]
    else:
        yield prefix, value
        return
    for name, inner in named:
        yield from flat(inner, f"{prefix}.{name}" if prefix else name)
