"""May a new model reach users? What is known of it and of its opponents, gathered for the gate, and the verdict."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from ops.gate.candidate import Candidate
from ops.gate.judged_champion import Present, timed
from ops.gate.opponents import BestOnRecord, Champion, challengers, judged_anchor, judged_champion
from ops.registry import champion_record
from ops.registry import mlflow_registry as registry
from ops.registry.policy import policy_of
from ops.registry.stages import Judged
from rere.config.promotion import GateConfig, PromotionConfig
from rere.data.sequences import newest_interaction, training_counts
from rere.data.validation_report import ValidationReport
from rere.evaluation.better_rival import over_best_item_model
from rere.evaluation.evaluator import results_of
from rere.evaluation.gate import evaluate_gate, surely_better
from rere.evaluation.gate_inputs import Anchor, CandidateMetrics, GateContext
from rere.evaluation.metrics import row_metric
from rere.evaluation.policy import weakened
from rere.evaluation.segments import segments_of
from rere.evaluation.verdict import Verdict
from rere.recommenders.labels import Label, to_serve


def judge(
    candidate: Candidate,
    results: pd.DataFrame,
    config: PromotionConfig,
    *,
    data_validation: ValidationReport,
    split_validation: ValidationReport,
    settings: dict[str, Any],
    submitted: dict[str, Any],
    base: str | None,
) -> tuple[Judged, pd.DataFrame]:
    """Hold a model against popularity, the champion and the best champion on record, row by row.

    Needs a running step with an MLflow run. Brings the registries up to the log first.

    Args:
        results: of all models of the run.
        settings: the run's, by stage, for the record.
        submitted: the code's commit where the run was submitted, see `provenance`; empty without git.
        base: the version that a retraining goes on from; None for none.

    Returns:
        The verdict with what it is about, and the champion's results on the same rows (no rows where none was judged).
    """
    registry.require_tracker()
    name, gate, dataset = config.model_name, config.gate, candidate.dataset
    champion_record.repair(name)
    content = candidate.content()
    own = registry.find_version(name, content)
    champion = judged_champion(name, own, candidate)
    notes = [*candidate.notes(), *champion.notes]
    ours = results_of(results, to_serve(results["model"]))
    item_model = over_best_item_model(ours, results, gate)
    if item_model is not None and item_model.warning is not None and gate.over_best_item_model == "warn":
        notes.append(item_model.warning)
    policy = policy_of(name)
    best = judged_anchor(name, (champion.version, own), candidate)
    notes += best.notes
    times = timed(candidate, champion.present)
    newest = newest_interaction(dataset)
    challenger = CandidateMetrics(
        ours, times[Label.CHALLENGER], candidate.mebibytes(), newest, len(candidate.catalog.item_ids)
    )
    rival = None if champion.present is None else _metrics(champion.present, times.get(Label.CHAMPION))
    given = GateContext(
        popularity=results_of(results, Label.POPULARITY),
        training_counts=training_counts(dataset),
        segments=segments_of(dataset, candidate.windows.of("test"), gate),
        warnings=tuple(
            check.name for report in (data_validation, split_validation) for check in report.having("warning")
        ),
        faulty=_faulty(split_validation, len(candidate.windows.table)),
        now=time.time(),
        challengers=challengers(name, champion.version, own),
        stand_in=results_of(results, Label.SFT),
        anchor=best.anchor,
        item_model=item_model,
    )
    judged = Judged(
        model=name,
        content=content,
        serves=candidate.serves,
        champion=champion.version,
        is_champion=champion.version is not None and champion.version == own,
        verdict=_verdict(evaluate_gate(challenger, rival, given, gate), champion, best),
        metric=gate.metric,
        value=float(row_metric(gate.metric, ours["rank"].to_numpy()).mean()),
        newest=newest,
        data=dataset.report.source_sha256,
        windows=candidate.windows.fingerprint,
        settings=settings,
        submitted=submitted,
        base=base,
        gate=gate,
        laxer_than_policy=() if policy is None else tuple(weakened(policy, gate)),
        beats_anchor=best.lost is None and _beats_anchor(ours, best.anchor, rival, gate),
        lost_champion=champion.lost,
        lost_anchor=best.lost,
        notes=tuple(notes),
    )
    return judged, ours.iloc[:0] if rival is None else rival.results


def _metrics(present: Present, latency_ms: float | None) -> CandidateMetrics:
    """The champion's."""
    return CandidateMetrics(present.results, latency_ms, present.mebibytes, present.newest, present.items)


def _verdict(verdict: Verdict, champion: Champion, best: BestOnRecord) -> Verdict:
    """With what can't be judged; without a champion's figures, checks without a figure say nothing."""
    if best.unreadable is not None:
        verdict = Verdict.of([*verdict.checks, best.unreadable], verdict.power)
    if champion.unreadable is not None:
        measured = [check for check in verdict.checks if check.value is not None]
        verdict = Verdict.of([champion.unreadable, *measured])
    return verdict


def _beats_anchor(
    ours: pd.DataFrame, anchor: Anchor | None, champion: CandidateMetrics | None, gate: GateConfig
) -> bool:
    """Whether this would be the best champion on record: surely better than the one that is, or the first."""
    best = anchor.results if anchor is not None else None if champion is None else champion.results
    return best is None or surely_better(ours, best, gate)


def _faulty(split_validation: ValidationReport, rows: int) -> dict[str, float]:
    """Check -> share of the prediction rows that fail it; a check that can't name rows counts for all of them."""
    return {
        check.name: check.failing / rows if check.failing else 1.0
        for check in split_validation.checks
        if not check.passed
    }
