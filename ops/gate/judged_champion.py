"""The present champion beside the challenger: judged on the same rows, and timed in the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ops.gate.candidate import Candidate
from ops.registry import mlflow_registry as registry
from ops.runtime.run_dirs import work_directory
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.sequences import indexed_rows
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.evaluation.evaluator import evaluate
from rere.evaluation.footprint import latencies_ms, mebibytes
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.recommenders.alone import ItemModelAlone
from rere.recommenders.cross_catalog import CrossCatalogRecommender, Translation
from rere.recommenders.labels import Label
from rere.recommenders.prior import Prior
from rere.runtime.launchers.base import Launcher
from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.engine.item_model import ItemModelDeployment

REQUESTED = 10  # items of a timed request
SAMPLE = 1_000  # test rows that are candidates for timing


@dataclass(frozen=True)
class Present:
    """The champion on today's rows; served: as the service has it; mebibytes, newest, items: see `CandidateMetrics`."""

    results: pd.DataFrame
    served: Deployment
    mebibytes: float
    newest: int | None
    items: int


def timed(candidate: Candidate, present: Present | None) -> dict[str, float]:
    """Milliseconds of a request to the challenger, and to the champion where there is one that knows an item of it.

    Asked is what the service runs: its search with lookahead and cached prefixes, both models on the same histories.
    """
    served: dict[str, Deployment] = {
        Label.CHALLENGER: _served(
            Label.CHALLENGER, candidate.model, candidate.catalog, candidate.serving, candidate.prior
        )
    }
    rows = candidate.windows.of("test")
    histories = list(rows["history"].iloc[:: max(1, len(rows) // SAMPLE)])
    if present is not None:
        lookup = present.served.snapshot.lookup
        if shared := [history for history in histories if lookup.resolve(history).items]:
            served[Label.CHAMPION], histories = present.served, shared

    def answering(deployment: Deployment) -> Callable[[int], object]:
        def answer(request: int) -> object:
            known = deployment.snapshot.lookup.resolve(histories[request]).items
            return deployment.rank([deployment.query(known, REQUESTED)])

        return answer

    return latencies_ms({name: answering(deployment) for name, deployment in served.items()}, len(histories))


def _served(
    version: str, model: Checkpoint | None, catalog: CatalogIndex, settings: dict[str, Any], prior: Prior | None
) -> Deployment:
    """As `rere serve` has it by default; `settings` as `servable.serving_settings`."""
    if model is None:
        assert prior is not None  # a version without either is refused where it is read
        return ItemModelDeployment(version, catalog, int(settings["history_items"]), prior=prior)
    search = ServingConfig().search(int(settings["beams"]), settings["normalisation"])
    tree_model = TreeModel(model.load_model())
    return GenerativeDeployment(version, tree_model, catalog, int(settings["history_items"]), search, prior=prior)


def judge_anew(name: str, version: str, candidate: Candidate) -> tuple[Present, list[str]]:
    """A registered version on the candidate's test rows, and what to know about it.

    Its weights are judged under today's normalisation and beams, as the challenger's are: identical weights must get
    identical numbers. It is timed as it is served.
    """
    with registry.fetched(name, version) as found:
        return _judged(name, found, candidate)


def _judged(name: str, found: registry.Registered, candidate: Candidate) -> tuple[Present, list[str]]:
    catalog, windows, evaluation = candidate.catalog, candidate.windows, candidate.evaluation
    version = found.version
    checkpoint, theirs = registry.read(found)
    prior = None if found.prior is None else Prior.load(found.prior)
    rows = windows.of("test")
    if checkpoint is None:
        assert prior is not None  # `read` refuses a version without either
        alone = ItemModelAlone(Label.CHAMPION, prior, len(theirs.item_ids))
        translated = CrossCatalogRecommender(alone, theirs.item_ids, catalog.item_ids)
        results = evaluate(translated, rows, catalog.index_of, evaluation)
    else:
        blend = prior if prior is not None and prior.changes_searches else None
        alike = evaluation.model_copy(update={"launcher": _launcher(evaluation)})
        with work_directory("gate", alike.as_one(), name, version, windows.fingerprint) as work:
            champion: dict[str, Checkpoint] = {Label.CHAMPION: checkpoint}
            results = evaluate_checkpoints(champion, windows, catalog, alike, work, own=theirs, prior=blend)
    served = _served(Label.CHAMPION, checkpoint, theirs, found.settings, prior)
    translation = Translation(theirs.item_ids, catalog.item_ids)
    notes = [f"The champion, version {version}, was judged anew on the same {len(results):,} rows."]
    if translation.lacking:
        lost = translation.unanswerable(indexed_rows(rows, catalog.index_of)[0])
        notes.append(
            f"Its catalogue lacks {translation.lacking:,} of today's items, which count as misses for it; "
            f"{lost:,} histories hold nothing that it knows."
        )
    today = candidate.serving
    changed = [f"{key}: {value}" for key, value in found.settings.items() if value != today.get(key)]
    if changed:
        notes.append(
            f"It is served with {', '.join(changed)}, but was judged with today's settings, as the challenger is."
        )
    files = found.prior if checkpoint is None else checkpoint.path
    assert files is not None
    return Present(results, served, mebibytes(files), found.tags.newest_interaction, len(theirs.item_ids)), notes


def _launcher(evaluation: EvaluationConfig) -> Launcher:
    """The gate may run on less than `evaluate`, whose processes would not find room."""
    assert isinstance(evaluation.launcher, Launcher)
    return evaluation.launcher.within_reach()
