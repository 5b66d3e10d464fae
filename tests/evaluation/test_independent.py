"""Our metrics and intervals against other people's: trec_eval, scikit-learn and SciPy, on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from scipy import stats
from sklearn.metrics import ndcg_score

from rere.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from rere.evaluation.metrics import row_metric, target_ranks

ROWS, ITEMS, LENGTH = 200, 40, 20
RANDOM = np.random.default_rng(0)
TARGETS = RANDOM.integers(0, ITEMS, ROWS)
LISTS = np.stack([RANDOM.permutation(ITEMS)[:LENGTH] for _ in range(ROWS)])  # half of them hold the target


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_hr_and_ndcg_are_those_of_trec_eval(k: int) -> None:
    relevant = {f"row{row}": {str(target): 1} for row, target in enumerate(TARGETS)}
    lists = {f"row{row}": {str(item): -float(at) for at, item in enumerate(own)} for row, own in enumerate(LISTS)}
    judged = pytrec_eval.RelevanceEvaluator(relevant, {f"success.{k}", f"recall.{k}", f"ndcg_cut.{k}"}).evaluate(lists)
    ranks = target_ranks(LISTS, TARGETS)
    assert 0 < (ranks > 0).sum() < ROWS
    for ours, theirs in (("hr", "success"), ("hr", "recall"), ("ndcg", "ndcg_cut")):
        expected = [judged[f"row{row}"][f"{theirs}_{k}"] for row in range(ROWS)]
        np.testing.assert_allclose(row_metric(f"{ours}@{k}", ranks), expected, err_msg=theirs)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_ndcg_is_that_of_scikit_learn(k: int) -> None:
    scores = np.full((ROWS, ITEMS), -float(ITEMS))  # what is in no list comes last
    np.put_along_axis(scores, LISTS, -np.arange(LENGTH, dtype=float)[None], axis=1)
    expected = ndcg_score(np.eye(ITEMS)[TARGETS], scores, k=min(k, LENGTH))
    # Items in no list are tied, and scikit-learn shares their gain out: it must lie outside the cut.
    assert row_metric(f"ndcg@{k}", target_ranks(LISTS, TARGETS)).mean() == pytest.approx(expected)


def simulation_error(values: np.ndarray) -> float:
    """Four standard errors of the difference of two simulated quantiles of a mean, of 20,000 samples each.

    A quantile at p of n samples has the standard error sqrt(p (1 - p) / n) over the density there; .025 is the worst.
    """
    p, n = 0.025, 20_000
    density = stats.norm.pdf(stats.norm.ppf(p)) / stats.sem(values)
    return float(4 * np.sqrt(2 * p * (1 - p) / n) / density)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_are_those_of_scipys_percentile_bootstrap(confidence: float) -> None:
    values = np.random.default_rng(3).exponential(2.0, 300)
    ours = bootstrap_mean(values, 20_000, confidence, seed=1)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=confidence, method="percentile", rng=2
    ).confidence_interval
    error = simulation_error(values)
    assert ours.low == pytest.approx(theirs.low, abs=error)
    assert ours.high == pytest.approx(theirs.high, abs=error)


def test_a_paired_comparison_is_that_of_scipy() -> None:
    ours_of, theirs_of = np.random.default_rng(3).random((2, 300))
    ours = paired_bootstrap(ours_of, theirs_of, 20_000, 0.95, seed=1)
    theirs = stats.bootstrap(
        (ours_of, theirs_of),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=2,
    ).confidence_interval
    error = simulation_error(ours_of - theirs_of)
    assert ours.low == pytest.approx(theirs.low, abs=error)
    assert ours.high == pytest.approx(theirs.high, abs=error)
