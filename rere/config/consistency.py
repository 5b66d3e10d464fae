"""Checks of the stages' settings against each other, without any data."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from rere.config.catalog import IndexConfig, title_vectors
from rere.config.evaluation import EvaluationConfig
from rere.config.rl import RLConfig
from rere.errors import RereError


def require_consistent(settings: Mapping[str, Any]) -> None:
    """Raises RereError with everything that can't go together.

    Args:
        settings: settings models by the name of the pipeline's parameter.
    """
    catalog, rl = settings["catalog"], settings["rl"]
    evaluation, gate = settings["evaluation"], settings["promotion"].gate
    named = {"promotion.gate.metric": gate.metric} | {f"promotion.gate.guards: {name}": name for name in gate.guards}
    if "tuning" in settings:
        named["tuning.metric"] = settings["tuning"].metric
    problems = [*_metrics(named, evaluation), *_rewards(rl, catalog), *_packages(catalog, rl)]
    if catalog.code.one_token and settings["sft"].sharding == "fsdp":
        problems.append(
            f"catalog.code: {catalog.code.type} with sft.sharding: fsdp (shards can't share titles' gradients)"
        )
    if settings["sft"].alignment is not None and not catalog.alignable:
        problems.append(
            f"sft.alignment with catalog.code: {catalog.code.type} and catalog.backbone: {catalog.backbone.type} "
            "(it is for code: semantic or file and a pretrained backbone)"
        )
    if settings["sft"].alignment is not None and settings["sft"].alignment.text_to_code and not catalog.text_columns:
        problems.append("sft.alignment.text_to_code without catalog.text_columns")
    problems += _kept_users(settings)
    if "data" in settings:
        kept = settings["data"].source.further_columns
        absent = [name for name in catalog.text_columns if name not in kept]
        problems += [f"catalog.text_columns: {name}, which data.source.item_columns doesn't keep" for name in absent]
    if catalog.prompt == "chat":
        # What follows a history in a chat stands between it and the next item, which the history of the next row has.
        shared = {"sft.rows": settings["sft"].rows, "rl.prefill": rl.prefill.type}
        if settings["preference"] is not None:
            shared["preference.prefill"] = settings["preference"].prefill.type
        problems += [f"catalog.prompt: chat with {name}: {way}" for name, way in shared.items() if way != "window"]
    serving, rivals = settings["serving"], [rival.type for rival in settings["item_models"].rivals]
    if serving.item_model not in (None, "best", *rivals):
        setting = "candidate" if serving.blend is None else "blend.item_model"
        problems.append(f"serving.{setting}: {serving.item_model} with item_models.rivals: {', '.join(rivals)}")
    problems += _places(settings)
    problems += _asked_teacher(settings)
    if problems:
        raise RereError("settings that go together", "; ".join(problems), "change one of each pair")


def _metrics(named: Mapping[str, str], evaluation: EvaluationConfig) -> Iterator[str]:
    for setting, metric in named.items():
        if (k := int(metric.partition("@")[2])) > evaluation.beams:
            shown = setting if metric in setting else f"{setting}: {metric}"
            yield f"{shown} with lists of {evaluation.beams} items (raise evaluation.beams to {k})"


def _rewards(rl: RLConfig, catalog: IndexConfig) -> Iterator[str]:
    if rl.generation == "unconstrained" and not catalog.code.ends:
        yield f"rl.generation: unconstrained with catalog.code: {catalog.code.type} (only a title has an end)"


def _kept_users(settings: Mapping[str, Any]) -> Iterator[str]:
    """Fine-tuning and RL must mean the same users, and nobody between them may see these."""
    kept, rows, preference = settings["sft"].kept_users, settings["rl"].rows, settings["preference"]
    if kept != (rows.share if rows.type == "kept_users" else 0):
        given = f"{{type: kept_users, share: {rows.share}}}" if rows.type == "kept_users" else f"{{type: {rows.type}}}"
        yield f"sft.kept_users: {kept} with rl.rows: {given} (the one leaves out what the other takes)"
    if kept and preference is not None and preference.place != "beside_rl":
        yield f"sft.kept_users with preference.place: {preference.place} (RL alone is to see their rows: beside_rl)"


def _asked_teacher(settings: Mapping[str, Any]) -> Iterator[str]:
    preference, rl = settings["preference"], settings["rl"]
    by_rl = rl.asks_teacher and (preference is None or preference.place != "instead_of_rl")
    if settings["item_models"].cross_fit is not None and not by_rl and settings["sft"].distillation is None:
        yield "item_models.cross_fit with sft.distillation: null and no collaborative reward (nobody asks the teacher)"


def _places(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a tuning tries of preference training and RL, with whether they run."""
    preference, tuning = settings["preference"], settings.get("tuning")
    if tuning is None:
        return
    if tuning.stage == "preference" and preference is None:
        yield "tuning.stage: preference with preference: null"
    if preference is None or tuning.stage != "rl":
        return
    if preference.place == "instead_of_rl":
        yield "tuning.stage: rl with preference.place: instead_of_rl (tune stage: preference)"
    elif preference.place == "beside_rl" and any(name.startswith("preference.") for name in tuning.space):
        yield "tuning.space of preference, tuning.stage: rl and preference.place: beside_rl (RL doesn't start from it)"


def _packages(catalog: IndexConfig, rl: RLConfig) -> Iterator[str]:
    vectors = [catalog.code.item_vectors, *(reward.item_vectors for reward in rl.rewards)]
    named = any(one is not None and title_vectors(one).type == "sentence_transformer" for one in vectors)
    if named and not _installed("sentence_transformers"):
        yield "an embedding of type sentence_transformer without its package (pip install -e '.[embeddings]')"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
