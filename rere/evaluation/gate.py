"""Decides whether a challenger may become champion.

Challenger and champion are measured anew on the same rows; stored results are never compared. Where rows are compared,
an interval decides: accuracy and guard metrics must surely not be worse than allowed (the lower end counts); a segment,
which has few rows, must not surely be worse (the upper end counts). The same holds against item models if the settings
require it.

One error rate for all: a challenger that is truly worse than allowed in the metric or in a guard passes with at most
the test's own error rate, since every one of them must pass (an intersection-union test; Berger, 1982). Segments
can only refuse, so they share one error rate (Bonferroni): with more segments no more good models are refused.
"""

from __future__ import annotations

import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation.evaluator import paired_values
from rere.evaluation.gate_inputs import CandidateMetrics, GateContext
from rere.evaluation.limit_checks import (
    catalog_kept,
    coverage_kept,
    data_validated,
    fresh_data,
    latency_kept,
    no_faulty_slots,
    popularity_bias_kept,
    sound_rows,
    within_budget,
)
from rere.evaluation.paired_checks import (
    beats_popularity,
    metric_kept,
    no_champion,
    not_beaten_by_item_models,
    paired_gain,
    segments_kept,
    tested_against_champion,
    total_loss,
)
from rere.evaluation.power import Power, clustered_error
from rere.evaluation.verdict import SIZE, Check, Verdict


def evaluate_gate(
    challenger: CandidateMetrics, champion: CandidateMetrics | None, given: GateContext, config: GateConfig
) -> Verdict:
    """Compare a challenger with popularity, the present champion and the budgets.

    Args:
        champion: None if there is none yet.

    Raises:
        RereError: results on other rows than the challenger's, an unknown metric, or lists too short for it.
    """
    ours = challenger.results
    checks = [
        no_faulty_slots("no invalid items", ours["invalid"].to_numpy(), "slots without an item of the catalogue"),
        no_faulty_slots(
            "no duplicate items", ours["duplicate"].to_numpy(), "slots that repeat an item of the same list"
        ),
        beats_popularity(ours, given.popularity, config),
        *([not_beaten_by_item_models(given.item_model, config)] if config.over_best_item_model == "refuse" else []),
        *(_against_champion(challenger, champion, given, config) if champion is not None else [no_champion(config)]),
        *([total_loss(ours, given.anchor, config)] if given.anchor is not None else []),
        *latency_kept(challenger.latency_ms, None if champion is None else champion.latency_ms, config),
        within_budget(SIZE, challenger.mebibytes, config.maximum_mebibytes, "MiB of model files"),
        data_validated(given.warnings, config),
        sound_rows(given.faulty, config),
        fresh_data(challenger, champion, given.now, config),
    ]
    rival = given.stand_in if champion is None else champion.results
    return Verdict.of(checks, None if rival is None else gate_power(ours, rival, config, given.challengers))


def surely_better(challenger: pd.DataFrame, rival: pd.DataFrame, config: GateConfig) -> bool:
    """Whether the interval of challenger - rival lies above zero."""
    return paired_gain(config.metric, challenger, rival, config).low > 0


def gate_power(ours: pd.DataFrame, theirs: pd.DataFrame, config: GateConfig, challengers: int = 1) -> Power | None:
    """The power of the test against the champion, and of each guard, for models that differ as these do.

    None for rows of one user, and where the models don't differ: lists that are the same say nothing of others.
    """
    if ours["user_id"].nunique() < 2:
        return None
    error = _error(ours, theirs, config.metric)
    if error == 0:
        return None
    guards = tuple(
        Power(
            metric=guard,
            error=_error(ours, theirs, guard),
            threshold=-config.guard_margin,
            confidence=config.confidence,
            rows=len(ours),
        )
        for guard in config.guards
    )
    level = config.test.level(config.confidence, challengers)
    return Power(
        metric=config.metric,
        error=error,
        threshold=config.test.threshold,
        confidence=level,
        rows=len(ours),
        guards=guards,
    )


def _error(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> float:
    values, others, rows = paired_values(ours, theirs, metric)
    return clustered_error(values - others, rows["user_id"].to_numpy())


def _against_champion(
    challenger: CandidateMetrics, champion: CandidateMetrics, given: GateContext, config: GateConfig
) -> list[Check]:
    ours, theirs, counts = challenger.results, champion.results, given.training_counts
    return [
        tested_against_champion(ours, theirs, given.challengers, config),
        *(
            metric_kept(f"{guard} not worse", guard, ours, theirs, -config.guard_margin, config=config)
            for guard in config.guards
        ),
        catalog_kept(challenger.items, champion.items, config),
        coverage_kept(ours, theirs, len(counts), config),
        popularity_bias_kept(ours, theirs, counts, config),
        segments_kept(ours, theirs, given.segments, config),
    ]
