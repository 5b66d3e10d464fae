"""The versions that a new model is compared with: the champion and the best champion on record, on the same rows.

If the files of one can't be read, that is a failed check.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from ops.gate.candidate import Candidate
from ops.gate.judged_champion import Present, judge_anew
from ops.registry import champion_record
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import find_anchor
from rere.errors import RereError
from rere.evaluation.better_rival import WARNING
from rere.evaluation.gate_inputs import Anchor
from rere.evaluation.verdict import Check

UNREADABLE = (MlflowException, OSError, RereError)


@dataclass(frozen=True)
class Champion:
    """The present champion.

    version: None without one
    present: it on today's rows; None without one, where it is the candidate itself, or where it can't be read
    unreadable: the failed check in the last case
    lost: the champion by the log that was deleted in MLflow
    """

    version: str | None
    present: Present | None
    unreadable: Check | None
    lost: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BestOnRecord:
    """The best champion on record.

    anchor: it on today's rows; None without one, where it is the champion or the candidate, or where it can't be read
    unreadable: the failed check in the last case
    lost: the version that would be it, but was deleted in MLflow
    """

    anchor: Anchor | None
    unreadable: Check | None
    lost: str | None
    notes: tuple[str, ...]


def judged_champion(name: str, own: str | None, candidate: Candidate) -> Champion:
    """Look the champion up, and judge it on the candidate's rows.

    Args:
        own: the version that has the candidate's very content; None where it isn't registered yet.
    """
    version, notes = registry.champion_version(name), list[str]()
    present, unreadable = None, None
    if version is not None and version == own:
        notes.append(f"This very model is the champion already, as version {version}.")
    elif version is not None:
        try:
            present, about_it = judge_anew(name, version, candidate)
            notes += about_it
        except UNREADABLE as error:
            unreadable = _unreadable_champion(version, error)
    lost = champion_record.lost_champion(name)
    if lost is not None:
        notes.append(_deleted(lost))
    return Champion(version, present, unreadable, lost, tuple(notes))


def judged_anchor(name: str, known: tuple[str | None, ...], candidate: Candidate) -> BestOnRecord:
    """Look the best champion on record up, and judge it on the candidate's rows.

    Args:
        known: versions that are judged already.
    """
    found = find_anchor(name)
    anchor, unreadable = None, None
    if found.version is not None and found.version not in known:
        try:
            anchor = Anchor(found.version, judge_anew(name, found.version, candidate)[0].results)
        except UNREADABLE as error:
            unreadable = _unreadable_anchor(found.version, error)
    return BestOnRecord(anchor, unreadable, found.lost, (found.note,) if found.note else ())


def challengers(name: str, champion: str | None, own: str | None) -> int:
    """How many versions were judged against the present champion, this one included."""
    met = {
        found.version
        for found in registry.versions(name)
        if champion is not None and found.tags.judged_against == champion
    }
    return len(met - {own}) + 1


def _unreadable_champion(version: str, error: Exception) -> Check:
    return Check(
        name="the champion can be judged",
        value=None,
        threshold=None,
        passed=False,
        explanation=f"Version {version}'s files can't be read ({error}). Restore them, or `rere rollback` to the "
        "champion before; `rere promote` overrides this with a reason on record.",
    )


def _unreadable_anchor(version: str, error: Exception) -> Check:
    return Check(
        name="the best champion on record can be judged",
        value=None,
        threshold=None,
        passed=False,
        explanation=f"Version {version}'s files can't be read ({error}), so nobody knows how much was lost since. "
        "Restore them, or name another: `rere promote VERSION --as-anchor`.",
    )


def _deleted(version: str) -> str:
    return (
        f"{WARNING}the champion on record, version {version}, was deleted in MLflow, so nothing was held against it: "
        "this model isn't promoted by itself; a person decides by `rere approve` or `rere promote`."
    )
