"""How sure a mean is: percentile bootstrap, over users where a user has several rows.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16. Rows of one user are not
independent, so users are what is drawn (the cluster bootstrap); with one row per user that is the plain bootstrap.
The same seed and units draw the same resamples, so columns bootstrapped together stay paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rere.errors import RereError

DRAWS_AT_ONCE = 1 << 22  # cells of a block of resamples: 32 MiB of float64


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    low, high: the percentile interval at the confidence asked for.
    p_value: two-sided, for a true mean of 0: 2 min(#{m* <= 0} + 1, #{m* >= 0} + 1) / (B + 1) over the B resampled
        means m*, at most 1: the level at which the percentile interval would just touch 0.
    """

    mean: float
    low: float
    high: float
    p_value: float


def bootstrap_means(
    values: np.ndarray, samples: int, confidence: float, seed: int, units: np.ndarray | None = None
) -> list[Estimate]:
    """An estimate for the mean of each column.

    Args:
        values: (R, M) float, one column per quantity.
        samples: number of resamples, B.
        confidence: between 0 and 1, e.g. 0.95.
        units: (R,) what is drawn, e.g. user ids; None draws rows. A unit brings all its rows, and a resampled mean
            is over the rows it holds.

    Raises:
        RereError: no rows, or values that aren't finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise RereError(
            "finite values of at least one row", f"shape {values.shape}, or NaN among them", "check the judged rows"
        )
    unit = np.arange(len(values)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    drawn = int(unit.max()) + 1
    sums = np.zeros((drawn, values.shape[1] + 1))  # the last column counts rows
    np.add.at(sums, unit, np.column_stack([values, np.ones(len(values))]))

    random = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    block = max(1, DRAWS_AT_ONCE // drawn)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        picks = random.integers(0, drawn, (size, drawn)) + np.arange(size)[:, None] * drawn
        weights = np.bincount(picks.ravel(), minlength=size * drawn).reshape(size, drawn).astype(np.float64)
        totals = weights @ sums
        means[start : start + size] = totals[:, :-1] / totals[:, -1:]

    tail = (1 - confidence) / 2
    lows, highs = np.quantile(means, [tail, 1 - tail], axis=0)
    below, above = (means <= 0).sum(0) + 1, (means >= 0).sum(0) + 1
    p_values = np.minimum(1.0, 2 * np.minimum(below, above) / (samples + 1))
    columns = zip(values.mean(0), lows, highs, p_values, strict=True)
    return [Estimate(*map(float, column)) for column in columns]


def bootstrap_mean(
    values: np.ndarray, samples: int, confidence: float, seed: int, units: np.ndarray | None = None
) -> Estimate:
    """`bootstrap_means` of one column, (R,)."""
    return bootstrap_means(np.asarray(values)[:, None], samples, confidence, seed, units)[0]


def paired_bootstrap(
    values: np.ndarray,
    rival: np.ndarray,
    samples: int,
    confidence: float,
    seed: int,
    *,
    units: np.ndarray | None = None,
) -> Estimate:
    """The mean of values - rival, (R,) each, on the same rows in the same order; p_value is for no difference."""
    if len(values) != len(rival):
        raise RereError("the same rows for both", f"{len(values)} and {len(rival)}", "judge both on the same rows")
    return bootstrap_mean(np.asarray(values) - np.asarray(rival), samples, confidence, seed, units)
