"""The pipeline: ingest, validate, split, index, fine-tune, prefer, reinforce, evaluate, promote.

Its parameters are the settings models of `rere/config`; a YAML file gives them under `parameters:`. What a
step waits for is what it takes; only `check_backbone`, which makes nothing, is waited for by its name. Artifacts pass
under their own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.checked import checked_pipeline
from pipelines.policies import train_policies
from pipelines.preflight import preflight
from pipelines.settings import RunSettings
from rere.artifacts.provenance import code_state
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import SFTConfig
from rere.data.sources.base import source_location
from steps.baselines import rank_baselines
from steps.beginning import sum_up_inputs
from steps.check_backbone import check_backbone
from steps.evaluate import evaluate
from steps.gate import gate
from steps.index_items import index_items
from steps.ingest import ingest
from steps.item_models import train_item_models
from steps.prior import make_prior
from steps.promote import promote
from steps.report import report as render_report
from steps.review import review as render_review
from steps.sft import fine_tune
from steps.split import split
from steps.summarise import summarise
from steps.validate import validate, validate_split

CHECKED = "check_backbone"  # the step that must have passed before there is anything to train on


@checked_pipeline
def rere_pipeline(
    *,
    data: IngestConfig = IngestConfig(),
    checks: ValidationConfig = ValidationConfig(),
    windows: SplitConfig = SplitConfig(),
    catalog: IndexConfig = IndexConfig(),
    sft: SFTConfig = SFTConfig(),
    preference: PreferenceStageConfig | None = None,
    rl: RLConfig = RLConfig(),
    reasoning: ReasoningConfig | None = None,
    item_models: ItemModelsConfig = ItemModelsConfig(),
    serving: ServedModelConfig = ServedModelConfig(),
    evaluation: EvaluationConfig = EvaluationConfig(),
    promotion: PromotionConfig = PromotionConfig(),
) -> None:
    """Train, judge and register a generative recommender."""
    given = RunSettings(
        data=data,
        checks=checks,
        windows=windows,
        catalog=catalog,
        sft=sft,
        preference=preference,
        rl=rl,
        reasoning=reasoning,
        item_models=item_models,
        serving=serving,
        evaluation=evaluation,
        promotion=promotion,
    )
    preflight(dict(given))
    train(given)


class Inputs(NamedTuple):
    """Artifacts of `sum_up_inputs`, in its order."""

    source_sha256: Any
    catalog_sha256: Any
    backbone_sha256: Any
    rl_sha256: Any
    data_commits: Any
    model_commits: Any
    named: Any


@dataclass(frozen=True)
class Prepared:
    """Artifacts of the steps that come before anything is trained."""

    inputs: Inputs
    dataset: Any
    data_validation: Any
    split_validation: Any
    windows: Any
    catalog: Any


def begin(given: RunSettings) -> Inputs:
    """Sum up what the settings name, and try the backbone: every run begins so."""
    inputs = Inputs(*sum_up_inputs(data=given.data, catalog=given.catalog, rl=given.rl))
    check_backbone(
        catalog=given.catalog,
        sft=given.sft,
        preference=given.preference,
        rl=given.rl,
        reasoning=given.reasoning,
        catalog_sha256=inputs.catalog_sha256,
        rl_sha256=inputs.rl_sha256,
        model_commits=inputs.model_commits,
    )
    return inputs


def prepare(given: RunSettings) -> Prepared:
    """Read, check, split and index the data: what every first training, and a tuning, begins with."""
    inputs = begin(given)
    dataset = ingest(config=given.data, source_sha256=inputs.source_sha256, data_commits=inputs.data_commits)
    checked = check_and_split(given, dataset)
    catalog = index_items(
        dataset=dataset,
        split_validation=checked.split_validation,
        config=given.catalog,
        catalog_sha256=inputs.catalog_sha256,
        model_commits=inputs.model_commits,
        after=CHECKED,
    )
    return Prepared(inputs=inputs, dataset=dataset, catalog=catalog, **checked._asdict())


class Checked(NamedTuple):
    """Artifacts of the checks, and of the split between them."""

    data_validation: Any
    split_validation: Any
    windows: Any


def check_and_split(given: RunSettings, dataset: Any) -> Checked:
    """Check the data, split it by time, check the split."""
    location = source_location(given.data.source)
    data_validation, profile = validate(dataset=dataset, config=given.checks, location=location)
    windows = split(dataset=dataset, data_validation=data_validation, config=given.windows)
    split_validation = validate_split(
        dataset=dataset, windows=windows, profile=profile, config=given.checks, location=location
    )
    return Checked(data_validation, split_validation, windows)


def train(given: RunSettings) -> None:
    """All steps of a first run."""
    data = prepare(given)
    item_models, teacher = train_item_models(
        dataset=data.dataset, windows=data.windows, catalog=data.catalog, config=given.item_models
    )
    sft_model = fine_tune(
        windows=data.windows,
        catalog=data.catalog,
        config=given.sft,
        backbone_sha256=data.inputs.backbone_sha256,
        teacher=teacher if given.sft.distillation else None,
    )
    judge(data=data, item_models=item_models, teacher=teacher, sft_model=sft_model, given=given)


def judge(
    *, data: Prepared, item_models: Any, teacher: Any, sft_model: Any, given: RunSettings, base: Any = None
) -> None:
    """The second half, which retraining shares: prefer, reinforce, evaluate, promote; takes the first half's artifacts.

    Args:
        base: what a retraining goes on from.
    """
    policies = train_policies(
        sft_model=sft_model,
        windows=data.windows,
        catalog=data.catalog,
        teacher=teacher,
        rl_sha256=data.inputs.rl_sha256,
        model_commits=data.inputs.model_commits,
        given=given,
    )
    baselines = rank_baselines(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        item_models=item_models,
        config=given.item_models,
        evaluation=given.evaluation,
    )
    beside = given.serving.item_model is not None
    prior = make_prior(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        config=given.serving,
        evaluation=given.evaluation,
        item_models=item_models if beside else None,
        language_model=policies.served if given.serving.fits_searches else None,
    )
    results, metrics = evaluate(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        baselines=baselines,
        sft_model=sft_model,
        preference_model=policies.preference_model,
        rl_model=policies.rl_model,
        reasoning_model=policies.reasoning_model,
        config=given.evaluation,
        prior=prior if given.serving.changes_lists else None,
    )
    judged, champion_results = gate(
        language_model=policies.served,
        catalog=data.catalog,
        prior=prior,
        dataset=data.dataset,
        windows=data.windows,
        data_validation=data.data_validation,
        split_validation=data.split_validation,
        results=results,
        evaluation=given.evaluation,
        config=given.promotion,
        settings=given.model_dump(mode="json"),
        named=data.inputs.named,
        data_commits=data.inputs.data_commits,
        model_commits=data.inputs.model_commits,
        submitted=code_state() or {},
        base=base,
    )
    report = render_report(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        sft_model=sft_model,
        preference_model=policies.preference_model,
        rl_model=policies.rl_model,
        results=results,
        metrics=metrics,
        judged=judged,
        evaluation=given.evaluation,
    )
    review = render_review(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        data_validation=data.data_validation,
        split_validation=data.split_validation,
        sft_model=sft_model,
        preference_model=policies.preference_model,
        rl_model=policies.rl_model,
        results=results,
        champion_results=champion_results,
        judged=judged,
        evaluation=given.evaluation,
        config=given.promotion.gate,
        decided_by=given.promotion.decided_by,
    )
    promotion = promote(
        dataset=data.dataset,
        sft_model=sft_model,
        preference_model=policies.preference_model,
        rl_model=policies.rl_model,
        catalog=data.catalog,
        prior=prior,
        windows=data.windows,
        metrics=metrics,
        report=report,
        review=review,
        evaluation=given.evaluation,
        decided_by=given.promotion.decided_by,
    )
    summarise(metrics=metrics, report=report, promotion=promotion, evaluation=given.evaluation)
