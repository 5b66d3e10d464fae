"""Two registered versions, fact by fact."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ops.registry import mlflow_registry as registry
from ops.registry.zenml_registry import metadata_of
from rere.reporting.flat import flat

HIDDEN = ("fingerprint", "review_run", "windows")  # tags that say nothing to a reader, or stand elsewhere


def differences(name: str, before: str, after: str) -> list[tuple[str, str, str]]:
    """(fact, value before, value after), sorted by fact, "-" where one lacks it; RereError without such a version."""
    left, right = (facts(name, version) for version in (before, after))
    return [(key, left.get(key, "-"), right.get(key, "-")) for key in sorted({*left, *right})]


def other_rows(listed: Sequence[registry.Listed]) -> list[str]:
    """A warning where their figures weren't measured on the same prediction rows; none for what isn't on record."""
    judged: dict[str, list[str]] = {}  # fingerprint of the rows -> versions
    for one in listed:
        if one.tags.windows is not None:
            judged.setdefault(one.tags.windows, []).append(one.version)
    if len(judged) < 2:
        return []
    groups = "; ".join(", ".join(versions) for versions in judged.values())
    return [f"Versions judged on different splits, whose metrics can't be compared from group to group: {groups}."]


def facts(name: str, version: str) -> dict[str, str]:
    """Dotted name -> value: tags of the MLflow version, metadata of the ZenML one; not the champion's log."""
    tags = {key: text for key, text in registry.get(name, version).tags.written().items() if key not in HIDDEN}
    known = {key: value for key, value in metadata_of(name, version).items() if not key.startswith("event.")}
    known.pop("gate", None)  # the checks are in the review; the tag has the verdict
    return tags | {
        key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in flat(known)
    }
