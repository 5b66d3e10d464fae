"""What carries over from the rows that a stage saw to others: a plot and a sentence of the probes on record.

See `rere.training.probes`: a stage that gains on rows that it saw and on no others learns them by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from rere.reporting.plots import DASHES, MARKERS, SERIES, STYLE, new_axes, page_svg

CONFIDENCE = 0.95
Z = float(norm.ppf(0.5 + CONFIDENCE / 2))
PROBES = {"seen": "rows that it saw", "unseen": "training rows that it doesn't visit", "valid": "validation rows"}


@dataclass(frozen=True)
class Gain:
    """Mean NDCG@10 less what it was at update 0, with its standard error."""

    update: int
    mean: float
    error: float

    @property
    def sure(self) -> int:
        """1 or -1: the interval is above or below zero; 0: it holds zero."""
        return int(self.mean > Z * self.error) - int(self.mean < -Z * self.error)

    def surely_above(self, other: Gain) -> bool:
        """Whether the difference of both, of independent rows, is above zero by its interval."""
        return self.mean - other.mean > Z * (self.error**2 + other.error**2) ** 0.5

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {Z * self.error:.4f}".replace("-", "−")


def gains(records: Sequence[dict[str, float]]) -> dict[str, list[Gain]]:
    """Probe -> gains from update 0 on; nothing where no rows that the stage saw are on record."""
    found: dict[str, list[Gain]] = {}
    for name in PROBES:
        score, error = f"{name}_ndcg@10", f"{name}_gain_error"
        start = next((record[score] for record in records if score in record), 0.0)
        later = [record for record in records if error in record]
        if later:
            each = [Gain(int(record["update"]), record[score] - start, record[error]) for record in later]
            found[name] = [Gain(0, 0.0, 0.0), *each]
    return found if "seen" in found and "valid" in found else {}


def gains_plot(records: Sequence[dict[str, float]]) -> str | None:
    """The probes' gains over updates, with intervals; None where they aren't on record."""
    found = gains(records)
    if not found:
        return None
    with rc_context(STYLE | {"svg.hashsalt": "carried over"}):
        figure, axes = new_axes()
        for n, (name, own) in enumerate(found.items()):
            axes.errorbar(
                [gain.update for gain in own],
                [gain.mean for gain in own],
                yerr=[Z * gain.error for gain in own],
                color=SERIES[n],
                linestyle=DASHES[n],
                marker=MARKERS[n],
                markersize=5,
                elinewidth=1.2,
                label=PROBES[name],
            )
        axes.set_xlabel("update")
        axes.set_ylabel("NDCG@10 since update 0")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="best")
        return page_svg(figure)


def remark(records: Sequence[dict[str, float]], stage: str) -> str | None:
    """What the last measurement says, with its figures; None where there is none.

    Args:
        stage: what people call it, e.g. "RL".
    """
    found = {name: own[-1] for name, own in gains(records).items()}
    if not found:
        return None
    figures = "; ".join(f"{PROBES[name]} {gain}" for name, gain in found.items())
    said = f"{_meaning(found, stage)} By update {found['seen'].update:,}: {figures} (NDCG@10 since update 0, with "
    said += f"{CONFIDENCE:.0%} intervals over users)."
    if "unseen" not in found:
        said += f" {stage} visits every training row, so there are none that it didn't see."
    return said


def _meaning(found: dict[str, Gain], stage: str) -> str:
    seen, valid = found["seen"], found["valid"]
    others = found.get("unseen", valid)
    if valid.sure > 0:
        more = ", rows that it saw more than others" if seen.surely_above(others) else ""
        return f"What {stage} learns carries over: validation rows rise{more}."
    if valid.sure < 0:
        return f"{stage} learns rows by heart, and others fall." if seen.sure > 0 else f"{stage} makes the model worse."
    if seen.sure > 0 and others.sure <= 0 and seen.surely_above(others):
        return f"{stage} learns rows by heart: those that it saw rise, others don't."
    if seen.sure > 0:
        return f"Rows that {stage} saw rise; whether validation rows do is too close to tell."
    if seen.sure < 0:
        return f"{stage} loses even on rows that it saw."
    return f"{stage} changes too little to tell, on rows that it saw and on validation rows alike."
