"""Whether a registered version becomes champion by the gate's word alone, and why not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from ops.registry import anchor, champion
from ops.registry import mlflow_registry as registry
from ops.registry.event_log import Event, Overtaken, read_log
from ops.registry.stages import Reviewed


@dataclass(frozen=True)
class Outcome:
    """is_champion: the version is champion now; waits: why a model that passed the gate isn't, "" where it is."""

    is_champion: bool
    waits: str


def promote_by_gate(review: Reviewed, version: str, decided_by: Literal["gate", "review"]) -> Outcome:
    """Make the version champion where its gate passed and no person has to decide."""
    name = review.model
    turned_down, problem = champion.withdrawn(name, version), ""
    if read_log(name).doubtful:
        problem = f"the log of {name} was altered by hand (`rere versions` says where): `rere promote` settles it"
    moved = False
    if review.promotes and decided_by == "gate" and turned_down is None and not problem:
        try:
            champion.move(name, version, who="the gate", reason="every check passed", expected=review.champion or "")
        except Overtaken as error:  # it is registered and judged all the same: a person or the next run decides
            problem = str(error)
        else:
            moved = True
            if said := anchor.follow_champion(name, version, review.beats_anchor):
                logging.getLogger(__name__).warning("%s", said)
    is_champion = moved or registry.champion_version(name) == version
    return Outcome(is_champion, _waits(review, is_champion, turned_down, problem))


def _waits(review: Reviewed, is_champion: bool, turned_down: Event | None, problem: str) -> str:
    """Why a model that could be champion isn't; empty where there is nothing to say."""
    if is_champion or not review.verdict.passed:
        return ""
    if turned_down is not None:
        return (
            f"{turned_down.who} turned it down ({turned_down.reason}); only `rere approve` or `rere promote` lift that"
        )
    if problem:
        return problem
    if review.lost_champion is not None:
        return (
            f"the champion on record, version {review.lost_champion}, is gone from MLflow, so nothing was held "
            "against it: `rere approve` or `rere promote` take a person's word"
        )
    if review.lost_anchor is not None:
        return (
            f"the best champion on record, version {review.lost_anchor}, is gone from MLflow, so nobody knows how much "
            "was lost since: `rere approve` or `rere promote` take a person's word"
        )
    if review.laxer_than_policy:
        return (
            f"this run's gate asks less than the policy of {review.model} ({'; '.join(review.laxer_than_policy)}): "
            "`rere approve` or `rere promote` take a person's word, `rere policy` changes the policy"
        )
    return "it waits for a reviewer: `rere approve` or `rere reject`"
