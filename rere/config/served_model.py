"""Settings of what is registered beside a model's weights: for new users, for new items, an item model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from rere.config.base import Settings

LANGUAGE_MODEL = "rl"  # the candidate that is no item model
LANGUAGE_MODELS = (LANGUAGE_MODEL, "preference")  # the stages that make it
Share = Annotated[float, Field(gt=0, lt=1)]


class BlendConfig(Settings):
    """An item model in every search: a score is (1 - share) · log p of the language model + share · log p of it."""

    item_model: str = Field(
        default="best", description="one of `item_models.rivals`; best: the one with the best validation NDCG@10"
    )
    share: Literal["fitted"] | Share = Field(
        default="fitted", description="fitted: the tenth with the best NDCG@10 on half of the validation users; 0: none"
    )
    validation_rows: int = Field(default=500, ge=1, description="rows of that half that are searched for each share")


class NewItemsConfig(Settings):
    """Items without training interactions are ranked by their titles alone, and their probabilities multiplied."""

    boost: Literal["fitted"] | PositiveFloat = Field(
        default="fitted",
        description="an item's probability by the language model counts this many times; fitted: the factor with the "
        "best NDCG@10 on half of the validation users, the model as it is where none is better",
    )
    validation_rows: int = Field(default=500, ge=1, description="rows of that half that are searched for each factor")


class ServedModelConfig(Settings):
    candidate: str = Field(
        default=LANGUAGE_MODEL,
        description="what is judged, registered and served. rl: the language model (also where preference training "
        "took RL's place); or an item model alone: one of "
        "`item_models.rivals`, or best: the one with the best validation NDCG@10",
    )
    cold_start: Literal["popularity", "refuse"] = Field(
        default="popularity",
        description="who names no known item gets what was popular in the training period, marked as such; or is "
        "refused",
    )
    new_item_exposure: float = Field(
        default=0.1,
        gt=0,
        description="wherever popularity or an item model counts, an item without training interactions has this much "
        "of the average probability of the others; also one that is added while serving",
    )
    new_items: NewItemsConfig | None = Field(
        default=None,
        description="how items without training interactions rank in the language model's searches, those added while "
        "serving among them; null: as the training left them, which takes them for wrong answers",
    )
    blend: BlendConfig | None = Field(
        default=None, description="an item model's part in what is judged and served; null: none"
    )

    @property
    def changes_lists(self) -> bool:
        """Whether what is served ranks otherwise than the language model by itself."""
        return self.item_model is not None or self.new_items is not None

    @property
    def fits_searches(self) -> bool:
        """Whether `prior` searches with the language model, to choose what changes its lists."""
        return self.blend is not None or self.new_items is not None

    @property
    def item_model(self) -> str | None:
        """The item model that has a part in what is served, `best` or a kind; None where none has."""
        if self.candidate != LANGUAGE_MODEL:
            return self.candidate
        return None if self.blend is None else self.blend.item_model

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.candidate != LANGUAGE_MODEL and self.blend is not None:
            raise ValueError(f"a blend is of the language model: `candidate: {self.candidate}` needs `blend: null`")
        if self.candidate != LANGUAGE_MODEL and self.new_items is not None:
            raise ValueError(f"`new_items` reads titles, which `candidate: {self.candidate}` doesn't: set it to null")
        return self
