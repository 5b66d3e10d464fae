"""The first screen of a review in plain words: what changes for users, how sure that is, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation.bootstrap import Estimate, paired_bootstrap
from rere.evaluation.evaluator import paired_values
from rere.evaluation.segments import SegmentGain

Standing = Literal["challenger", "first", "champion", "unjudged"]
BEGINNINGS = {
    "challenger": "For users, ",
    "first": "This would be the first model that users get: ",
    "unjudged": "The champion can't be judged. For users, ",
}
TIMES = (1_000, 10_000, 100_000)  # "so many times in 1,000": the first at which the counts are more than a handful
HANDFUL = 10


@dataclass(frozen=True)
class Hits:
    """How often the next item is among the first k of a list.

    now, before: shares of the rows, of the challenger and of what it is held against
    gained, lost: rows that have their item there now and hadn't before, and the reverse
    gain: now - before, with the interval of the gate's settings
    """

    k: int
    now: float
    before: float
    gained: int
    lost: int
    gain: Estimate

    @property
    def scale(self) -> int:
        """Of the counts in a sentence."""
        least = min(self.now, self.before) or max(self.now, self.before)
        return next((times for times in TIMES if least * times >= HANDFUL), TIMES[-1])


@dataclass(frozen=True)
class Risk:
    """Something that speaks against a promotion, or (level "open") that a person should know."""

    level: Literal["bad", "warn", "open"]
    text: str


def hits(ours: pd.DataFrame, theirs: pd.DataFrame, gate: GateConfig) -> Hits:
    """Of two models' results on the same rows, at the K of the gate's metric; RereError for other rows."""
    k = int(gate.metric.rpartition("@")[2])
    now, before, rows = paired_values(ours, theirs, f"hr@{k}")
    users = rows["user_id"].to_numpy()
    gain = paired_bootstrap(now, before, gate.bootstrap_samples, gate.confidence, gate.seed, units=users)
    return Hits(
        k=k,
        now=float(now.mean()),
        before=float(before.mean()),
        gained=int((now > before).sum()),
        lost=int((now < before).sum()),
        gain=gain,
    )


def in_one_sentence(found: Hits, standing: Standing, rival: str, confidence: float) -> str:
    """What changes for users, and how sure that is.

    Args:
        rival: what users get without this model, e.g. "the champion, version 3".
    """
    if standing == "champion":
        return "Nothing changes for users: this very model is the champion already."
    times, sure = found.scale, f"{confidence:.0%} confidence"
    now, before = (round(share * times) for share in (found.now, found.before))
    often = f"the item that they take next is among the first {found.k} recommendations {now:,} times in {times:,}"
    low, high = (round(end * times) for end in (found.gain.low, found.gain.high))
    difference = round(found.gain.mean * times)
    begin = f"{BEGINNINGS[standing]}{often}"
    if found.gain.low > 0:
        return (
            f"{begin}, {difference:,} more than with {rival}, and that is sure: {low:,} to {high:,} more, with {sure}."
        )
    if found.gain.high < 0:
        return (
            f"{begin}, {-difference:,} fewer than with {rival}, and that is sure: {-high:,} to {-low:,} fewer, "
            f"with {sure}."
        )
    return (
        f"{begin}; with {rival} {before:,} times. That difference may be chance: between {-low:,} fewer and {high:,} "
        f"more, with {sure}."
    )


def risks(found: Hits, segments: Sequence[SegmentGain], warnings: Sequence[str], data_warnings: int) -> list[Risk]:
    """What a person weighs, the gravest first.

    Args:
        warnings: sentences, such as that an item model ranks better.
        data_warnings: checks of the data that warned.
    """
    said = [Risk("warn", sentence) for sentence in warnings]
    judged = [(part, part.gain) for part in segments if part.gain is not None]
    said = [
        Risk("bad", f"Surely worse for {part.name}: {gain.mean:+.4f}, {part.rows:,} rows.".replace("-", "−"))
        for part, gain in judged
        if gain.high < 0
    ] + said
    if data_warnings:
        said.append(
            Risk(
                "warn",
                f"{data_warnings} checks of the data warned." if data_warnings > 1 else "1 check of the data warned.",
            )
        )
    said.append(
        Risk(
            "open",
            f"{found.lost:,} test rows lose the right item from their first {found.k}, {found.gained:,} gain it.",
        )
    )
    return said
