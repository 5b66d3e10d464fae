"""Register the model: `challenger` always, `champion` when the gate passed.

Last of all, and in this order: log it by path, load it back and have it answer, register, name it. Running again
with the same model finds its version instead of making another.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from zenml import ArtifactConfig, step
from zenml.enums import ModelStages
from zenml.metadata.metadata_types import MetadataType
from zenml.types import HTMLString

from ops.registry import champion_log as champion
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import follow_champion
from ops.registry.event_log import Event, Overtaken, read_log
from ops.registry.policy import policy_of, set_policy
from ops.registry.stages import Promoted, Reviewed, StageMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.models.checkpoint import Checkpoint
from rere.recommenders.prior import Prior

EXAMPLES = 2  # items in the request that a run suggests, and histories in the registered model's input example


@step(enable_cache=False, experiment_tracker=True, output_materializers=StageMaterializer)
def promote(
    *,
    dataset: Dataset,
    sft_model: Checkpoint,
    rl_model: Checkpoint,
    catalog: CatalogIndex,
    prior: Prior,
    windows: Windows,
    metrics: pd.DataFrame,
    report: HTMLString,
    review: Reviewed,
    evaluation: EvaluationConfig,
    decided_by: Literal["gate", "review"],
) -> Annotated[Promoted, ArtifactConfig(name="promotion")]:
    """Register in MLflow, and as a ZenML Model version that links the run and all that it made."""
    import mlflow

    from ops.registry import run_record
    from ops.registry.zenml_registry import record_version, running, tag_run
    from rere.artifacts.provenance import provenance
    from rere.recommenders.labels import Label
    from rere.reporting.model_card import CardInputs, model_card

    registry.require_tracker()
    name = review.model
    made = provenance(review.seeds, review.submitted)
    origin = run_record.origin(dataset.report, made["git"], running())
    curves = {"sft": sft_model.curves(), "rl": rl_model.curves()}
    run_record.log_results(
        run_record.RunResults(review.settings, curves, summary=metrics, ingest=dataset.report, windows=windows)
    )
    version = registry.find_version(name, review.content)
    if version is None:
        examples = [list(map(str, history)) for history in windows.of("test")["history"].head(EXAMPLES)]
        with tempfile.TemporaryDirectory() as scratch:
            places = Path(scratch) / "catalog", Path(scratch) / "prior"
            catalog.save(places[0])
            prior.save(places[1])
            served = registry.serving_settings(windows, evaluation)
            uri = registry.log_model(rl_model.path, *places, served, examples)
        version = registry.register(uri, name, origin.model_copy(update={"fingerprint": review.content}))
    mlflow.log_text(report, "report.html")
    page = review.page_of(version)
    mlflow.log_text(page, "review.html")
    card = model_card(
        CardInputs(
            model=name,
            version=version,
            subject=Label.RL,
            summary=metrics,
            ingest=dataset.report,
            settings=review.settings,
            verdict=review.verdict,
            notes=review.notes,
            commit=origin.commit,
        )
    )
    run = mlflow.active_run()
    tags = review.tags(run.info.run_id if run else "")
    run_record.describe_run({"model": name, "version": version, **tags.written(), **origin.written()}, card)
    registry.tag(name, version, tags)
    registry.describe(name, version, card)
    registry.set_alias(name, registry.CHALLENGER, version)
    metadata: dict[str, MetadataType] = {
        "mlflow_model": f"models:/{name}/{version}",
        "content": review.content,
        "gate": review.verdict.model_dump(mode="json"),
        "settings": review.settings,
        "provenance": made,
        "data": review.data,
        "windows": review.windows,
        "base": review.base or "",
    }
    is_champion = registry.champion_version(name) == version
    record_version(name, version, ModelStages.PRODUCTION if is_champion else ModelStages.STAGING, metadata, card)
    if policy_of(name) is None:
        set_policy(name, review.gate, "the first run", "its gate")
    turned_down, problem = champion.withdrawn(name, version), ""
    if read_log(name).doubtful:
        problem = f"the log of {name} was altered by hand (`rere versions` says where): `rere promote` settles it"
    promotes = review.promotes and decided_by == "gate" and turned_down is None and not problem
    if promotes:
        try:
            champion.move(name, version, who="the gate", reason="every check passed", expected=review.champion or "")
        except Overtaken as error:  # it is registered and judged all the same: a person or the next run decides
            promotes, problem = False, str(error)
        else:
            if said := follow_champion(name, version, review.beats_anchor):
                logging.getLogger(__name__).warning("%s", said)
    holds = promotes or registry.champion_version(name) == version
    gate = "passed" if review.verdict.passed else "failed"
    role = registry.CHAMPION if holds else registry.CHALLENGER
    tag_run([f"model: {name}", f"version: {version}", f"gate: {gate}", role])
    return Promoted(
        **dict(review) | {"page": page},
        version=version,
        aliases=(registry.CHALLENGER, *([registry.CHAMPION] if holds else [])),
        tracking_uri=mlflow.get_tracking_uri(),
        waits=_waits(review, holds, turned_down, problem),
        example=tuple(map(str, windows.of("test")["history"].iloc[0]))[-EXAMPLES:],
    )


def _waits(review: Reviewed, holds: bool, turned_down: Event | None, problem: str) -> str:
    """Why a model that could be champion isn't; empty where there is nothing to say."""
    if holds or not review.verdict.passed:
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
