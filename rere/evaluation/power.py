"""The gate's power: how likely a challenger passes, given how much better or worse it truly is.

A challenger passes when the lower end of the interval of challenger - champion reaches the threshold. With a normal
mean of standard error e that is P(pass | d) = Phi((d - threshold) / e - z), z the normal quantile of the interval
(Chow, Shao and Wang, "Sample Size Calculations in Clinical Research", chapter 3). `simulated` draws test sets instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from rere.errors import RereError

LOW = 0.8  # of models as good as the champion should pass


def clustered_error(differences: np.ndarray, users: np.ndarray) -> float:
    """The standard error of the mean of (R,) differences whose rows belong to users.

    sqrt(U / (U - 1) * sum over users of (their sum - their rows * mean)^2) / R: the linearised variance of a ratio, as
    whole users are what another test set would exchange (Cochran, "Sampling Techniques", 1977, section 9A.9).

    Raises:
        RereError: fewer than two users.
    """
    unit = np.unique(np.asarray(users), return_inverse=True)[1]
    count = int(unit.max()) + 1 if len(unit) else 0
    if count < 2:
        raise RereError("test rows of at least two users", f"{count}", "judge on more test rows")
    residuals = np.asarray(differences, dtype=np.float64) - np.mean(differences)
    sums = np.bincount(unit, weights=residuals, minlength=count)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(unit))


@dataclass(frozen=True)
class Power:
    """One of the gate's tests on one set of test rows.

    metric: that is compared, e.g. ndcg@10.
    error: standard error of the mean paired difference, in the metric's units.
    threshold: what the interval's lower end must reach.
    confidence: of the two-sided interval.
    rows: test rows that `error` was measured on.
    guards: of the metrics that must not fall either, which a challenger has to pass as well.
    """

    metric: str
    error: float
    threshold: float
    confidence: float
    rows: int
    guards: tuple[Power, ...] = ()

    def passes(self, difference: float) -> float:
        """The probability that a challenger passes that is truly better by `difference`."""
        if self.error == 0:
            return float(difference >= self.threshold)
        return float(norm.cdf((difference - self.threshold) / self.error - self._z))

    def needs(self, probability: float = 0.8) -> float:
        """The true difference at which that share of challengers passes."""
        return self.threshold + (self._z + float(norm.ppf(probability))) * self.error

    def rows_for(self, difference: float = 0.0, probability: float = 0.8) -> float:
        """About how many test rows it takes for that share of such challengers to pass; infinite where none suffice."""
        distance = difference - self.threshold
        if distance <= 0:
            return float("inf")
        return self.rows * ((self._z + float(norm.ppf(probability))) * self.error / distance) ** 2

    @property
    def sentence(self) -> str:
        """What these test rows let the gate tell, in plain words."""
        said = (
            f"On these {self.rows:,} test rows, a challenger exactly as good as the champion passes with "
            f"{self.passes(0.0):.0%} probability"
        )
        if self.threshold < 0:
            said += f", one that is worse by the margin ({-self.threshold:g} {self.metric.upper()}) with "
            said += f"{self.passes(self.threshold):.1%}"
        said += f"; 80 % of those pass that are truly {self.needs():+.4f}."
        if self.threshold < 0 and self.passes(0.0) < LOW:
            said += (
                f" That is too little to tell good from bad: it takes about {self.rows_for():,.0f} test rows, "
                "or a wider margin."
            )
        return said + "".join(f" {guard._as_guard}" for guard in self.guards)

    @property
    def _as_guard(self) -> str:
        said = (
            f"The guard {self.metric.upper()} asks as well (margin {-self.threshold:g}): an equal challenger passes it "
            f"with {self.passes(0.0):.0%} probability"
        )
        if self.passes(0.0) < LOW:
            rows = f"{self.rows_for():,.0f} test rows, or " if self.threshold < 0 else ""
            said += f"; for {LOW:.0%} it takes about {rows}a wider `guard_margin`"
        return f"{said}."

    @property
    def _z(self) -> float:
        return float(norm.ppf(0.5 + self.confidence / 2))


def simulated(
    differences: np.ndarray,
    users: np.ndarray,
    power: Power,
    true_differences: Sequence[float],
    rows: int | None = None,
    *,
    trials: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """The share of drawn test sets on which a challenger passes, (len(true_differences),).

    A test set is as many users as hold about `rows` rows, drawn with replacement; the differences are shifted so that
    their mean is the true difference, and each set gets its own interval, from its own rows.

    Args:
        differences: (R,) challenger - champion, per row.
        users: (R,) user ids.
        rows: size of a test set; None keeps R.
    """
    unit = np.unique(np.asarray(users), return_inverse=True)[1]
    count = int(unit.max()) + 1
    drawn = max(2, round(count * (len(unit) if rows is None else rows) / len(unit)))
    sizes = np.bincount(unit, minlength=count).astype(np.float64)
    sums = np.bincount(unit, weights=np.asarray(differences) - np.mean(differences), minlength=count)
    z, random = float(norm.ppf(0.5 + power.confidence / 2)), np.random.default_rng(seed)
    lows = np.empty(trials)
    for trial in range(trials):
        users_drawn = random.integers(0, count, drawn)
        size, total = sizes[users_drawn], sums[users_drawn]
        mean = total.sum() / size.sum()
        error = np.sqrt(drawn / (drawn - 1) * ((total - size * mean) ** 2).sum()) / size.sum()
        lows[trial] = mean - z * error
    return np.array([(lows + true >= power.threshold).mean() for true in true_differences])
