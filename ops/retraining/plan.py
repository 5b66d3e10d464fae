"""Whether there is anything to retrain for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ops.registry import mlflow_registry as registry
from ops.registry.recipe import DATA
from ops.registry.zenml_registry import metadata_of
from ops.retraining.base import Base
from ops.retraining.unchanged import made_of, recorded_sums, source_sums
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.data.collected import GONE, LATE, CollectionReport, collect
from rere.data.dataset import FORGOTTEN
from rere.data.flags import moment
from rere.data.sources.base import load_source


class Plan(BaseModel):
    """Run or skip, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["run", "skip"]
    reason: str


def make_plan(
    data: IngestConfig, retrain: RetrainConfig, name: str, settings: dict[str, Any], base: Base | None
) -> Plan:
    """Is there anything new since the champion?

    Args:
        settings: of the run, by stage; a change of them is a reason to run.
    """
    if base is None:
        return Plan(type="run", reason=f"no champion of {name} to go on from: the whole source is ingested")
    theirs = metadata_of(name, base.version)
    changed = _changed(theirs.get("settings"), settings)
    sums = source_sums(data)
    judged = _judged(name, base.version, sums, settings)
    if judged is not None:
        gate = judged.tags.gate or "not asked"
        return Plan(
            type="skip",
            reason=f"version {judged.version} was made of these very data and settings and judged against the "
            f"champion, version {base.version} (gate: {gate})",
        )
    if changed:
        return Plan(type="run", reason=f"settings changed since version {base.version}: {', '.join(changed)}")
    if sums is not None and sums == recorded_sums(theirs):
        return Plan(type="skip", reason=f"the source's files are those of the champion, version {base.version}")
    raw = load_source(data.source)
    if base.collected is None:
        newest = int(base.dataset.load().interactions["timestamp"].max())
        new, left_out = int((raw.interactions["timestamp"] > newest).sum()), ""
    else:
        collected = base.collected.load()
        newest, report = collected.report.newest, collect(raw, collected, retrain.deleted).report
        if gone := report.dropped.get(FORGOTTEN):
            reason = (
                f"{gone:,} interactions of version {base.version} were deleted at the source: they are to be forgotten"
            )
            return Plan(type="run", reason=reason)
        new, left_out = report.new, _left_out(report)
    said = f"{new:,} interactions are new since {moment(newest)}, the newest of version {base.version}{left_out}"
    if new < retrain.minimum_new_interactions:
        return Plan(type="skip", reason=f"{said}; at least {retrain.minimum_new_interactions:,} are asked")
    return Plan(type="run", reason=said)


def _judged(name: str, champion: str, sums: list[str] | None, settings: dict[str, Any]) -> registry.Listed | None:
    """A version that was made of these data and settings and judged against this champion."""
    for version in registry.versions(name):
        if sums is None or version.version == champion or version.tags.judged_against != champion:
            continue
        if made_of(metadata_of(name, version.version), sums, settings):
            return version
    return None


def _changed(theirs: Any, ours: dict[str, Any]) -> list[str]:
    """Stages whose settings differ; those that an earlier model wasn't asked for don't count.

    Nor does another commit of the data: its rows are looked at.
    """
    known = theirs if isinstance(theirs, dict) else {}
    return [stage for stage, chosen in ours.items() if stage in known and stage != DATA and known[stage] != chosen]


def _left_out(report: CollectionReport) -> str:
    """What else a night brought, of which a retraining takes no notice."""
    late, gone = report.dropped[LATE], report.noticed.get(GONE, 0)
    said = f" ({late:,} came late, older than that: `retrain: {{base: none}}` takes them in)" if late else ""
    return said + (f" ({gone:,} of its rows are gone at the source, and kept)" if gone else "")
