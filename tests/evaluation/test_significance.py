"""The bootstrap against what theory says."""

from __future__ import annotations

import numpy as np
import pytest

from rere.errors import RereError
from rere.evaluation import bootstrap as significance
from rere.evaluation.bootstrap import bootstrap_mean, bootstrap_means, paired_bootstrap


def test_the_interval_of_a_normal_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 2000)
    estimate = bootstrap_mean(values, samples=4000, confidence=0.95, seed=1)
    margin = 1.96 * values.std() / np.sqrt(2000)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - margin, abs=0.006)  # margin is .088
    assert estimate.high == pytest.approx(values.mean() + margin, abs=0.006)
    assert estimate.p_value == pytest.approx(2 / 4001)  # no resample reached 0


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(400):
        estimate = bootstrap_mean(random.random(150) < 0.3, samples=300, confidence=0.9, seed=trial)
        covered += estimate.low <= 0.3 <= estimate.high
    assert 0.85 <= covered / 400 <= 0.94  # sd of the share is .015


def test_users_are_what_is_drawn() -> None:
    # 50 users of 20 equal rows each: 1,000 rows, but only 50 facts
    random = np.random.default_rng(3)
    means = random.normal(size=50)
    values, users = np.repeat(means, 20), np.repeat([f"u{n}" for n in range(50)], 20)
    naive = bootstrap_mean(values, 3000, 0.95, seed=0)
    honest = bootstrap_mean(values, 3000, 0.95, seed=0, units=users)
    assert honest.mean == pytest.approx(naive.mean)
    assert (honest.high - honest.low) == pytest.approx(2 * 1.96 * means.std() / np.sqrt(50), rel=0.08)
    assert (honest.high - honest.low) / (naive.high - naive.low) == pytest.approx(np.sqrt(20), rel=0.1)


def test_users_with_more_rows_weigh_more() -> None:
    estimate = bootstrap_mean(np.array([1.0, 0, 0, 0]), 100, 0.95, seed=0, units=np.array(["a", "b", "b", "b"]))
    assert estimate.mean == 0.25
    assert (estimate.low, estimate.high) == (0.0, 1.0)  # only a, or only b


def test_pairing_removes_what_both_share() -> None:
    random = np.random.default_rng(4)
    hardness = random.normal(size=500)
    ours, theirs = hardness + 0.1 + random.normal(0, 0.2, 500), hardness + random.normal(0, 0.2, 500)
    gain = paired_bootstrap(ours, theirs, 1000, 0.95, seed=0)
    assert gain.low > 0
    assert gain.p_value < 0.01
    assert (gain.high - gain.low) == pytest.approx(2 * 1.96 * np.sqrt(0.08 / 500), rel=0.12)
    turned = paired_bootstrap(theirs, ours, 1000, 0.95, seed=0)
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))
    assert turned.p_value == gain.p_value


def test_no_difference_is_no_evidence() -> None:
    same = paired_bootstrap(np.ones(9), np.ones(9), 100, 0.95, seed=0)
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_the_p_value_is_uniform_when_nothing_differs() -> None:
    random = np.random.default_rng(5)
    p_values = [bootstrap_mean(random.normal(size=200), 300, 0.95, seed=n).p_value for n in range(300)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_columns_share_their_resamples_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).normal(size=(40, 2))
    whole = bootstrap_means(values, 101, 0.95, seed=0)
    assert whole[1] == bootstrap_mean(values[:, 1], 101, 0.95, seed=0)
    monkeypatch.setattr(significance, "DRAWS_AT_ONCE", 40 * 7)
    for ours, theirs in zip(bootstrap_means(values, 101, 0.95, seed=0), whole, strict=True):
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_bad_values_are_a_clear_error() -> None:
    for values in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(RereError, match="finite values"):
            bootstrap_mean(values, 100, 0.95, seed=0)
    with pytest.raises(RereError, match="the same rows"):
        paired_bootstrap(np.ones(3), np.ones(2), 100, 0.95, seed=0)
