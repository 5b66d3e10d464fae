"""May the new model reach users? Judged on the same test rows as popularity and as the present champion.

Always runs: who the champion is, only the registry knows.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from zenml import ArtifactConfig, step

from materializers.table import TableMaterializer
from ops.registry import champion_record, servable
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import find_anchor
from ops.registry.policy import policy_of
from ops.registry.stages import Judged, StageMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.errors import RereError
from rere.evaluation.better_rival import WARNING
from rere.evaluation.evaluator import results_of
from rere.evaluation.gate import evaluate_gate, surely_better
from rere.evaluation.gate_inputs import Anchor, CandidateMetrics, GateContext
from rere.evaluation.metrics import row_metric
from rere.evaluation.policy import weakened
from rere.evaluation.verdict import Check, Verdict
from rere.models.checkpoint import Checkpoint
from rere.recommenders.labels import Label, to_serve
from rere.recommenders.prior import Prior


@step(
    enable_cache=False,
    experiment_tracker=True,
    output_materializers={"judged": StageMaterializer, "champion_results": TableMaterializer},
)
def gate(
    *,
    rl_model: Checkpoint,
    catalog: CatalogIndex,
    prior: Prior,
    dataset: Dataset,
    windows: Windows,
    data_validation: ValidationReport,
    split_validation: ValidationReport,
    results: pd.DataFrame,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
    settings: dict[str, Any],
    submitted: dict[str, Any],
    base: str,
) -> tuple[
    Annotated[Judged, ArtifactConfig(name="judged")],
    Annotated[pd.DataFrame, ArtifactConfig(name="champion_results")],
]:
    """Hold what would be served (the RL model, the blend, an item model) against popularity and the champion, by row.

    Args:
        results: of all models of the run.
        settings: the run's, by stage, for the record.
        submitted: the code's commit where the run was submitted, see `provenance`; empty without git.
        base: the version that a retraining goes on from; empty for none.

    Returns:
        The verdict with what it is about, and the champion's results on the same rows (no rows where none was judged).
    """
    from ops.registry.judged_champion import judge_anew, timed
    from rere.data.sequences import newest_interaction, training_counts
    from rere.evaluation.better_rival import over_best_item_model
    from rere.evaluation.footprint import mebibytes
    from rere.evaluation.segments import segments_of

    registry.require_tracker()
    name, rows = config.model_name, windows.of("test")
    champion_record.repair(name)
    model = None if prior.alone else rl_model
    content = servable.content_of(model, catalog, prior, servable.serving_settings(windows, evaluation))
    candidate, champion = registry.find_version(name, content), registry.champion_version(name)
    notes = _kept_start(rl_model) if model is not None else [_item_model(prior)]
    notes += [] if prior.boost is None else [_boost(prior.boost)]
    problem, present = None, None
    if champion is not None and champion == candidate:
        notes.append(f"This very model is the champion already, as version {champion}.")
    elif champion is not None:
        try:
            present, about_it = judge_anew(name, champion, catalog, windows, evaluation)
            notes += about_it
        except (MlflowException, OSError, RereError) as error:
            problem = _lost(champion, error)
    lost = champion_record.lost_champion(name)
    notes += [] if lost is None else [_gone(lost)]
    ours = results_of(results, to_serve(results["model"]))
    item_model = over_best_item_model(ours, results, config.gate)
    if item_model is not None and item_model.warning is not None and config.gate.over_best_item_model == "warn":
        notes.append(item_model.warning)
    policy = policy_of(name)
    laxer = () if policy is None else tuple(weakened(policy, config.gate))
    on_record = find_anchor(name)
    best = on_record.version
    notes += [on_record.note] if on_record.note else []
    anchor, unjudged = None, None
    if best is not None and best not in (champion, candidate):
        try:
            anchor = Anchor(best, judge_anew(name, best, catalog, windows, evaluation)[0].results)
        except (MlflowException, OSError, RereError) as error:
            unjudged = _anchor_lost(best, error)
    times = timed(model, catalog, prior, windows, evaluation=evaluation, present=present)
    newest = newest_interaction(dataset)
    challenger = CandidateMetrics(
        ours,
        times[Label.CHALLENGER],
        prior.mebibytes() if model is None else mebibytes(model.path),
        newest,
        len(catalog.item_ids),
    )
    rival = None
    if present is not None:
        latency = times.get(Label.CHAMPION)
        rival = CandidateMetrics(present.results, latency, mebibytes(present.files), present.newest, present.items)
    given = GateContext(
        popularity=results_of(results, Label.POPULARITY),
        training_counts=training_counts(dataset),
        segments=segments_of(dataset, rows, config.gate),
        warnings=tuple(
            check.name for report in (data_validation, split_validation) for check in report.having("warning")
        ),
        faulty=_faulty(split_validation, len(windows.table)),
        now=time.time(),
        challengers=_challengers(name, champion, candidate),
        stand_in=results_of(results, Label.SFT),
        anchor=anchor,
        item_model=item_model,
    )
    verdict = evaluate_gate(challenger, rival, given, config.gate)
    if unjudged is not None:
        verdict = Verdict.of([*verdict.checks, unjudged], verdict.power)
    if problem is not None:
        verdict = Verdict.of([problem, *(check for check in verdict.checks if check.value is not None)])
    judged = Judged(
        model=name,
        content=content,
        serves=prior.serves,
        champion=champion,
        is_champion=champion is not None and champion == candidate,
        verdict=verdict,
        metric=config.gate.metric,
        value=float(row_metric(config.gate.metric, ours["rank"].to_numpy()).mean()),
        newest=newest,
        data=dataset.report.source_sha256,
        windows=windows.fingerprint,
        settings=settings,
        submitted=submitted,
        base=base or None,
        gate=config.gate,
        laxer_than_policy=laxer,
        beats_anchor=on_record.lost is None and _beats_anchor(ours, anchor, rival, config),
        lost_champion=lost,
        lost_anchor=on_record.lost,
        notes=tuple(notes),
    )
    return judged, ours.iloc[:0] if rival is None else rival.results


def _beats_anchor(
    ours: pd.DataFrame, anchor: Anchor | None, champion: CandidateMetrics | None, config: PromotionConfig
) -> bool:
    """Whether this would be the best champion on record: surely better than the one that is, or the first."""
    best = anchor.results if anchor is not None else None if champion is None else champion.results
    return best is None or surely_better(ours, best, config.gate)


def _anchor_lost(version: str, error: Exception) -> Check:
    return Check(
        name="the best champion on record can be judged",
        value=None,
        threshold=None,
        passed=False,
        explanation=f"Version {version}'s files can't be read ({error}), so nobody knows how much was lost since. "
        "Restore them, or name another: `rere promote VERSION --as-anchor`.",
    )


def _challengers(name: str, champion: str | None, candidate: str | None) -> int:
    """How many versions were judged against the present champion, this one included."""
    met = {
        found.version
        for found in registry.versions(name)
        if champion is not None and found.tags.judged_against == champion
    }
    return len(met - {candidate}) + 1


def _faulty(split_validation: ValidationReport, rows: int) -> dict[str, float]:
    """Check -> share of the prediction rows that fail it; a check that can't name rows counts for all of them."""
    return {
        check.name: check.failing / rows if check.failing else 1.0
        for check in split_validation.checks
        if not check.passed
    }


def _lost(version: str, error: Exception) -> Check:
    return Check(
        name="the champion can be judged",
        value=None,
        threshold=None,
        passed=False,
        explanation=f"Version {version}'s files can't be read ({error}). Restore them, or `rere rollback` to the "
        "champion before; `rere promote` overrides this with a reason on record.",
    )


def _gone(version: str) -> str:
    return (
        f"{WARNING}the champion on record, version {version}, was deleted in MLflow, so nothing was held against it: "
        "this model isn't promoted by itself; a person decides by `rere approve` or `rere promote`."
    )


def _item_model(prior: Prior) -> str:
    return (
        f"What is judged, and would be served, is the item model {prior.serves} alone, as `serving.candidate` asks: it "
        "reads no titles, so items that are added while serving have only their exposure."
    )


def _boost(factor: float) -> str:
    return (
        "What is judged, and would be served, ranks items without training interactions by their titles, and their "
        f"probability counts {factor:g} times."
    )


def _kept_start(model: Checkpoint) -> list[str]:
    """Says so when reinforcement learning ended where it began."""
    facts = model.facts()
    if facts.get("best_update") == 0 and facts["settings"]["keep"] == "best":
        return ["No RL update beat the fine-tuned model on validation: ReRe's weights are SFT's, and so are its rows."]
    return []
