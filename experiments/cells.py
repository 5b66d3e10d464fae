"""What is compared: each cell is a label and how its recommender is made. The tables' order is the order here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.boosted import BoostedItemModel
from experiments.kept import training_facts
from experiments.lab import Runner
from experiments.without_history import WithoutHistory
from rere.catalog.codes.item import ItemTokenCode
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode
from rere.config.backbone import GGUFModel, ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.decoding import InferencePrecision, Normalisation
from rere.config.evaluation import EvaluationConfig
from rere.config.preference import PreferenceConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import CrossFit, ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.served_model import BlendConfig, ServedModelConfig
from rere.config.sft import Distillation, LabelsAfter, SFTConfig
from rere.data.sequences import training_counts
from rere.models.checkpoint import Checkpoint
from rere.models.inference import for_inference
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Recommender
from rere.recommenders.blend import fitted_share
from rere.recommenders.debiased import DebiasedRecommender
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.new_items import BOOSTS, fitted_boost
from rere.recommenders.popularity import Popularity
from rere.recommenders.prior import Prior
from rere.recommenders.rankings import mean_ndcg
from rere.recommenders.reasoning import ReasoningRecommender
from rere.recommenders.unconstrained import UnconstrainedRecommender

# The default: a token per item, taught by the best item model.
TAUGHT_INDEX, TAUGHT_SFT, TAUGHT_RL = IndexConfig(), SFTConfig(), RLConfig()

# Fine-tuned on labels alone, as the paper does, with a smaller model; RL then has the teacher in its reward.
SMALL = ScratchModel(width=128, heads=2)
INDEX = IndexConfig(backbone=SMALL, code=PrefixCode())
SFT = SFTConfig(distillation=None, normalisation="vocab", learning_rate=3e-3, epochs=4)
SFT_KEPT = SFT.model_copy(update={"kept_users": 0.2})  # their rows are RL's
SEMANTIC = IndexConfig(backbone=SMALL, code=SemanticCode())
SEMANTIC_SFT = SFT.model_copy(update={"epochs": 6})  # its loss still falls after the others'
TITLES = IndexConfig(backbone=SMALL, code=TitleCode())
TITLES_SFT = SFT.model_copy(update={"epochs": 3})  # nine tokens per item: free generation needs them
D3_WEIGHT = 0.3  # by validation, see docs/decisions.md
TEACHER = ItemModelsConfig().teacher
FOLDS = CrossFit().folds
FACTORS = (1.0, 1.5, *BOOSTS[1:])  # of the item model's own probability; 1: as it is

# All language models of a study are judged under one normalisation, whatever they were trained under: identical weights
# must get identical numbers. What is written freely has no trie to normalise over: that study is judged under `vocab`.
JUDGED: Normalisation = "trie"
JUDGED_FREE: Normalisation = "vocab"

# As wide a search as the longest list that is reported.
EVALUATION = EvaluationConfig(ks=(1, 3, 5, 10, 20, 50), beams=50)

# As long as RL of the default: what the labels give without rewards and candidates.
CONTROL = SFTConfig(distillation=None, epochs=1, learning_rate=1e-4)
# So that a model that learned its teacher by heart has something of its own, which a blend of both needs.
LABELLED_SFT = SFTConfig(distillation=Distillation(labels_after=LabelsAfter()))

# The paper's setting at a rate and length for the small model; REINFORCED adds a teacher's reward.
PAPER = RLConfig.model_validate(
    {
        "rewards": [{"type": "rule"}, {"type": "ranking"}],
        "loss": "grpo",
        "ground_truth": "off",
        "normalisation": "vocab",
        "learning_rate": 1e-4,
        "validate_every": 100,
        "updates": 300,  # an eighth of an epoch; what 1,000 and two whole epochs give is among the ablations
        "ref_model_sync_steps": 64,
    }
)
BY_RULES = RLConfig.model_validate(
    {"rewards": [{"type": "rule"}, {"type": "ranking"}], "loss": "grpo", "ground_truth": "off"}
)
REINFORCED = RLConfig(learning_rate=1e-3, updates=1000, validate_every=100)


@dataclass(frozen=True)
class TrainedModel:
    """A recommender, with what it took: seconds and tokens of training (beyond its start's), and what is on record.

    facts: as `training_facts`, or what was chosen
    curves: records of the training, one per logged update
    """

    recommender: Recommender
    seconds: float = 0.0
    tokens: float = 0.0
    facts: dict[str, Any] | None = None
    curves: list[dict[str, float]] | None = None


Make = Callable[[Runner, Normalisation], TrainedModel]


@dataclass(frozen=True)
class Cell:
    """One row of a table.

    make: takes the normalisation that the recommender is judged under, which is `judged`
    every: judged on every n-th user's test rows
    """

    label: str
    make: Make
    every: int = 1
    judged: Normalisation = JUDGED


def popularity(lab: Runner, judged: Normalisation) -> TrainedModel:
    return TrainedModel(Popularity.fit(lab.world.sequences, len(lab.world.item_index)))


def item_model(kind: str) -> Make:
    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        model = lab.item_model(kind)
        return TrainedModel(model, lab.item_model_seconds(kind))

    return make


def without_history(kind: str) -> Make:
    """An item model whose lists leave out what the history holds, as EASE, item-kNN and co-occurrence learn to."""

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        return TrainedModel(WithoutHistory(lab.item_model(kind)), lab.item_model_seconds(kind))

    return make


def with_new_items(kind: str) -> Make:
    """An item model with its new items boosted as a language model's are: it knows no more of them."""

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        model, new = lab.item_model(kind), training_counts(lab.world.dataset) == 0
        rows = lab.world.selection_rows()
        factors = FACTORS if new[rows[1]].any() else FACTORS[:1]
        scores = [mean_ndcg(BoostedItemModel(model, new, factor), *rows) for factor in factors]
        factor = factors[int(np.argmax(scores))]
        return TrainedModel(BoostedItemModel(model, new, factor), facts={"boost": factor})

    return make


def boosted(made: Make) -> Make:
    """The same model as served with `serving.new_items`: new items by their titles, boosted as validation says."""

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        plain = made(lab, judged).recommender
        assert isinstance(plain, GenerativeRecommender)
        prior = Prior(training_counts(lab.world.dataset), ServedModelConfig())
        boost = fitted_boost(plain, prior, *lab.world.selection_rows())
        return TrainedModel(plain.with_prior(replace(prior, boost=boost)), facts={"boost": boost or "none"})

    return make


def tuned(index: IndexConfig, sft: SFTConfig = SFT, folds: int | None = None) -> Make:
    """Fine-tuning; with `folds` its teacher is cross-fitted."""
    return lambda lab, judged: generative(lab, index, lab.tuned(index, sft, folds), judged)


def continued(index: IndexConfig, sft: SFTConfig, config: SFTConfig) -> Make:
    """Fine-tuning on labels after fine-tuning."""
    return lambda lab, judged: generative(lab, index, lab.continued(index, sft, config), judged)


def semantic(embedding: dict[str, Any], **settings: Any) -> Make:
    """Fine-tuned on semantic IDs made of these item vectors."""
    code = SemanticCode.model_validate({"embedding": embedding, **settings})
    return tuned(IndexConfig(backbone=SMALL, code=code), SEMANTIC_SFT)


def debiased(lab: Runner, judged: Normalisation) -> TrainedModel:
    start = generative(lab, INDEX, lab.tuned(INDEX, SFT), judged).recommender
    assert isinstance(start, GenerativeRecommender)
    return TrainedModel(DebiasedRecommender(start, lab.item_model("sasrec"), D3_WEIGHT))


def preferring(config: PreferenceConfig) -> Make:
    return lambda lab, judged: generative(lab, INDEX, lab.preferring(INDEX, SFT, config), judged)


def reinforced(
    config: RLConfig, index: IndexConfig = INDEX, sft: SFTConfig = SFT, *, folds: int | None = None, **changes: Any
) -> Make:
    """RL with some settings changed; with `folds` the teacher, fine-tuning's too, is cross-fitted."""
    changed = RLConfig.model_validate({**config.model_dump(), **changes})
    return lambda lab, judged: generative(lab, index, lab.reinforced(index, sft, changed, TEACHER, folds), judged)


def reasoning(index: IndexConfig = INDEX, sft: SFTConfig = SFT, **settings: Any) -> Make:
    """A recommendation head after a text, which it rewards; it has no trie, so no normalisation."""
    config = ReasoningConfig.model_validate(settings)

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        checkpoint = lab.reasoning(index, sft, config)
        facts, kept = checkpoint.facts(), training_facts(checkpoint, len(lab.world.windows.of("train")))
        recommender = ReasoningRecommender.load("model", checkpoint.path, lab.index(index))
        return TrainedModel(recommender, facts["seconds"], facts["tokens"], kept, checkpoint.curves())

    return make


def generative(lab: Runner, index: IndexConfig, checkpoint: Checkpoint, judged: Normalisation) -> TrainedModel:
    facts, curves = checkpoint.facts(), checkpoint.curves()
    recommender = GenerativeRecommender("model", checkpoint.path, lab.index(index), EVALUATION.beams, judged)
    kept = training_facts(checkpoint, len(lab.world.windows.of("train")))
    return TrainedModel(recommender, facts.get("seconds", 0.0), facts.get("tokens", 0.0), kept, curves)


def freely(made: Make) -> Make:
    """The same model, judged by what it writes without the constraint: by its probability over the vocabulary."""

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        assert judged == JUDGED_FREE
        found = made(lab, judged)
        assert isinstance(found.recommender, GenerativeRecommender)
        return replace(found, recommender=UnconstrainedRecommender("model", found.recommender.model, lab.index(TITLES)))

    return make


def in_precision(made: Make, precision: InferencePrecision) -> Make:
    """The same model as a service runs it by its setting `precision`."""

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        found = made(lab, judged)
        assert isinstance(found.recommender, GenerativeRecommender)
        found.recommender.model = TreeModel(for_inference(found.recommender.model.base, precision))
        return found

    return make


def preference(**settings: Any) -> PreferenceConfig:
    return PreferenceConfig.model_validate({"updates": 300, **settings})


def blended(made: Make, new_items: bool = False) -> Make:
    """With the teacher's part in every search: `serving.blend`, its share fitted on validation rows.

    Args:
        new_items: boosted in that search, as validation says (`serving.new_items`).
    """

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        trained = made(lab, judged)
        assert isinstance(trained.recommender, GenerativeRecommender)
        rows, settings = lab.world.selection_rows(), ServedModelConfig(blend=BlendConfig())
        prior = Prior(training_counts(lab.world.dataset), settings, lab.item_model(lab.teacher(TEACHER)))
        prior = replace(prior, share=fitted_share(trained.recommender, prior, *rows))
        facts = {**(trained.facts or {}), "share": prior.share}
        if new_items:
            prior = replace(prior, boost=fitted_boost(trained.recommender, prior, *rows))
            facts["boost"] = prior.boost or "none"
        return replace(trained, recommender=trained.recommender.with_prior(prior), facts=facts)

    return make


def rewards(*parts: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [{"type": part} if isinstance(part, str) else part for part in parts]


TAUGHT = {"type": "collaborative", "scale": "log"}
ANCHORED: dict[str, Any] = {"loss": "anchored_grpo", "rewards": rewards(TAUGHT), "ground_truth": "add"}

# Today's default beside the item models, and what RL adds to it beside cross-entropy on labels for as long.
MAIN = [
    Cell("Popularity", popularity),
    Cell("item-kNN", item_model("item_knn")),
    Cell("EASE", item_model("ease")),
    Cell("co-occurrence", item_model("co_occurrence")),
    Cell("title-kNN", item_model("title_knn")),
    Cell("SASRec", item_model("sasrec")),
    Cell("GRU4Rec", item_model("gru4rec")),
    Cell("Caser", item_model("caser")),
    Cell("SASRec without the history's items", without_history("sasrec")),
    Cell("GRU4Rec without the history's items", without_history("gru4rec")),
    Cell("Caser without the history's items", without_history("caser")),
    Cell("ensemble of item models", item_model("ensemble")),
    Cell("SFT (default: the teacher's distribution)", tuned(TAUGHT_INDEX, TAUGHT_SFT)),
    Cell("control: cross-entropy in RL's place", continued(TAUGHT_INDEX, TAUGHT_SFT, CONTROL)),
    Cell("ReRe (default)", reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT)),
    Cell("SFT, cross-fitted teacher", tuned(TAUGHT_INDEX, TAUGHT_SFT, FOLDS)),
    Cell("ReRe, cross-fitted teacher", reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT, folds=FOLDS)),
    Cell("ReRe, blended with its teacher", blended(reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT))),
    Cell("labels after the teacher", tuned(TAUGHT_INDEX, LABELLED_SFT)),
    Cell("labels after the teacher, blended", blended(tuned(TAUGHT_INDEX, LABELLED_SFT))),
    Cell(
        "labels after the teacher, blended, new items boosted",
        blended(tuned(TAUGHT_INDEX, LABELLED_SFT), new_items=True),
    ),
    Cell("ReRe (paper's rewards) after the labels", reinforced(BY_RULES, TAUGHT_INDEX, LABELLED_SFT)),
    Cell(
        "ReRe (paper's rewards) after the labels, blended, new items boosted",
        blended(reinforced(BY_RULES, TAUGHT_INDEX, LABELLED_SFT), new_items=True),
    ),
    Cell("ReRe, new items boosted", boosted(reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT))),
    Cell("ensemble, new items boosted", with_new_items("ensemble")),
]
# What is done for speed alone, on today's default.
BY_SEQUENCE = {"type": "sequence", "prompts": 16}
SPEED = [
    Cell("SFT (default: the teacher's distribution)", tuned(TAUGHT_INDEX, TAUGHT_SFT)),
    Cell("ReRe (default)", reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT)),
    Cell("RL by sequence", reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT, prefill=BY_SEQUENCE)),
    Cell("served in bfloat16", in_precision(reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT), "bfloat16")),
    Cell("served in int8", in_precision(reinforced(TAUGHT_RL, TAUGHT_INDEX, TAUGHT_SFT), "int8")),
]
# Methods that start from fine-tuning on labels, as the paper's does.
METHODS = [
    Cell("Popularity", popularity),
    Cell("SASRec", item_model("sasrec")),
    Cell("GRU4Rec", item_model("gru4rec")),
    Cell("Caser", item_model("caser")),
    Cell("SFT, semantic IDs (TIGER-style)", tuned(SEMANTIC, SEMANTIC_SFT)),
    Cell("SFT", tuned(INDEX)),
    Cell("SFT + D3 (SASRec)", debiased),
    Cell("DPO", preferring(PreferenceConfig(negatives=1, updates=300))),
    Cell("S-DPO", preferring(PreferenceConfig(negatives=8, updates=300))),
    Cell("DynamicPO (S-DPO)", preferring(preference(negatives=15, loss="dynamic_po"))),
    Cell("NAPO, fixed margin", preferring(preference(negatives=3, loss="napo", in_batch={"type": "similar_users"}))),
    Cell("ReRe (paper)", reinforced(PAPER)),
    Cell("ReRe (labels, then a teacher's reward)", reinforced(REINFORCED)),
    Cell("ReRe, a cross-fitted teacher's reward", reinforced(REINFORCED, folds=FOLDS)),
    Cell("partial-code reward", reinforced(PAPER, rewards=rewards("partial_code"))),
    Cell("next-items reward", reinforced(PAPER, rewards=rewards("next_items"))),
    Cell("Sibling-GRPO (V-STAR)", reinforced(PAPER, loss="sibling_grpo")),
    Cell("anchored GRPO, a teacher's reward", reinforced(PAPER, **ANCHORED)),
    Cell("RISER", reinforced(PAPER, loss="riser", ground_truth="add", normalisation="trie")),
    Cell("SFT without the kept users", tuned(INDEX, SFT_KEPT)),
    Cell("RL on the kept users", reinforced(PAPER, sft=SFT_KEPT, rows={"type": "kept_users"})),
    Cell("RPORec: reasoning, then a head", reasoning()),
    Cell("RPORec: the head alone", reasoning(tokens=0)),
    Cell("newest rows", reinforced(PAPER, rows={"type": "newest"})),
    Cell("altered histories", reinforced(PAPER, histories={"type": "altered"})),
]

ABLATIONS = [
    Cell("SFT (start)", tuned(INDEX)),
    Cell("beam, rule + ranking, GRPO (paper)", reinforced(PAPER)),
    Cell("1,000 updates", reinforced(PAPER, updates=1000)),
    Cell("2 epochs, the best kept", reinforced(PAPER, updates=None, epochs=2)),
    Cell("2 epochs, the last kept", reinforced(PAPER, updates=None, epochs=2, keep="last")),
    Cell("sampling: multinomial", reinforced(PAPER, sampling={"type": "multinomial"})),
    Cell("sampling: dynamic, all copies of the target", reinforced(PAPER, sampling={"type": "dynamic"})),
    Cell("sampling: dynamic, one copy", reinforced(PAPER, sampling={"type": "dynamic", "target_copies": "one"})),
    Cell("normalisation: trie", reinforced(PAPER, normalisation="trie")),
    Cell("reward: rule", reinforced(PAPER, rewards=rewards("rule"))),
    Cell("reward: ranking only", reinforced(PAPER, rewards=rewards("ranking"))),
    Cell("reward: rule + semantic", reinforced(PAPER, rewards=rewards("rule", "semantic"))),
    Cell("reward: rule + collaborative", reinforced(PAPER, rewards=rewards("rule", "collaborative"))),
    Cell("reward: collaborative only", reinforced(PAPER, rewards=rewards("collaborative"))),
    # With one step per rollout GSPO's gradient is GRPO's.
    *[
        Cell(f"loss: {loss.upper()}, 4 steps per rollout", reinforced(PAPER, loss=loss, num_iterations=4))
        for loss in ("grpo", "dapo", "gspo")
    ],
    Cell("advantage: unscaled", reinforced(PAPER, advantage="none")),
    Cell("truth added", reinforced(PAPER, ground_truth="add")),
    Cell("start: base", reinforced(PAPER, sft=SFT.model_copy(update={"epochs": 0}))),
    Cell("ours", reinforced(REINFORCED)),
    Cell("ours, rule reward only", reinforced(REINFORCED, rewards=rewards("rule"))),
    Cell("ours, teacher's reward only", reinforced(REINFORCED, rewards=rewards(TAUGHT))),
    Cell("ours, truth not added", reinforced(REINFORCED, ground_truth="off")),
    Cell("ours, GRPO", reinforced(REINFORCED, loss="grpo", learning_rate=1e-4)),
]
SENSITIVITY = [
    Cell("SFT (start)", tuned(INDEX)),
    *[Cell(f"G = {group}", reinforced(REINFORCED, num_generations=group)) for group in (4, 8, 16, 32)],
    *[Cell(f"β = {beta:g}", reinforced(REINFORCED, beta=beta)) for beta in (0.0, 1e-3, 1e-2, 1e-1)],
    *[Cell(f"learning rate {rate:g}", reinforced(REINFORCED, learning_rate=rate)) for rate in (3e-4, 1e-3, 3e-3)],
    *[
        Cell(
            f"teacher's weight {weight:g}", reinforced(REINFORCED, rewards=rewards("rule", TAUGHT | {"weight": weight}))
        )
        for weight in (0.5, 1.0, 2.0)
    ],
    Cell("300 updates", reinforced(REINFORCED, updates=300)),
]
# Full titles as codes, so that a list can be written without the constraint. `freely` is how a model is judged;
# the training's own generation stands in the label.
TITLED, TITLED_FREE = (
    reinforced(PAPER, TITLES, TITLES_SFT, generation=generation) for generation in ("constrained", "unconstrained")
)
GENERATION = [  # free generation takes a second for six lists: a fourth of the users
    Cell("SFT (start), constrained", tuned(TITLES, TITLES_SFT), every=4, judged=JUDGED_FREE),
    Cell("SFT (start), free", freely(tuned(TITLES, TITLES_SFT)), every=4, judged=JUDGED_FREE),
    Cell("RL constrained, constrained", TITLED, every=4, judged=JUDGED_FREE),
    Cell("RL constrained, free", freely(TITLED), every=4, judged=JUDGED_FREE),
    Cell("RL free, constrained", TITLED_FREE, every=4, judged=JUDGED_FREE),
    Cell("RL free, free", freely(TITLED_FREE), every=4, judged=JUDGED_FREE),
]
# A pretrained model on two CPU cores: codes of title prefixes (a fourth of the tokens of full titles), bfloat16, and a
# fourth of the users (`movielens-quarter`). Full fine-tuning learns more from as many tokens than LoRA; RL trains
# adapters.
SMOLLM2 = IndexConfig(
    backbone=GGUFModel(), code=PrefixCode(), instruction="A user watched these films, one a line. Name the next one.\n"
)
SMOLLM2_SFT = SFTConfig(
    distillation=None,
    normalisation="vocab",
    epochs=5,
    learning_rate=4e-4,
    batch_tokens=256,
    device_batch_rows=8,
    validation_rows=400,
    precision="bfloat16",
)
SMOLLM2_RL: dict[str, Any] = {
    "adaptation": {"type": "lora", "dropout": 0.0},
    "learning_rate": 3e-4,
    "updates": 100,
    "prompts": 16,
    "device_batch_prompts": 16,
    "validate_every": 50,
    "validation_rows": 500,
    "checkpoint_every": 10,
    "precision": "bfloat16",
}
SMOLLM2_REASONING = {key: value for key, value in SMOLLM2_RL.items() if key != "checkpoint_every"}
PRETRAINED = [
    Cell("Popularity", popularity),
    Cell("SASRec", item_model("sasrec")),
    Cell("GRU4Rec", item_model("gru4rec")),
    Cell("SFT, nano", tuned(INDEX)),
    Cell("ReRe, nano", reinforced(REINFORCED)),
    Cell("SFT, SmolLM2", tuned(SMOLLM2, SMOLLM2_SFT)),
    Cell("ReRe, SmolLM2", reinforced(REINFORCED, SMOLLM2, SMOLLM2_SFT, **SMOLLM2_RL)),
    Cell("RPORec, SmolLM2", reasoning(SMOLLM2, SMOLLM2_SFT.model_copy(update={"epochs": 0}), **SMOLLM2_REASONING)),
    Cell("ReRe (paper), SmolLM2", reinforced(PAPER, SMOLLM2, SMOLLM2_SFT, **SMOLLM2_RL)),
]
# What an item is to a model: fine-tuned on labels alone, everything else equal.
CODES = [
    Cell("SFT", tuned(INDEX)),
    Cell("a token per item", tuned(IndexConfig(backbone=SMALL, code=ItemTokenCode()))),
    Cell("SFT, semantic IDs (TIGER-style)", tuned(SEMANTIC, SEMANTIC_SFT)),
    Cell("semantic IDs, from users", semantic({"type": "collaborative"})),
    Cell("semantic IDs, both", semantic({"type": "both"})),
    Cell("semantic IDs, both, RQ-VAE", semantic({"type": "both"}, quantiser={"type": "rq_vae"})),
]
STUDIES = {
    "main": MAIN,
    "methods": METHODS,
    "codes": CODES,
    "speed": SPEED,
    "ablations": ABLATIONS,
    "generation": GENERATION,
    "sensitivity": SENSITIVITY,
    "pretrained": PRETRAINED,
}
