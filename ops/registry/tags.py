"""The tags of a registered version, as one typed record: written by it and read by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class VersionTags(BaseModel):
    """What is known of a version at a glance; None where nothing is on record. Tags of other names aren't ours.

    fingerprint: its content, see `servable.content_of`
    serves: what answers, see `Prior.serves`; None: the language model, of an earlier release
    judged_against: the champion of that moment; "" for none
    metric, value: the gate's, on the test rows
    newest_interaction: of its training data, seconds since 1970
    review_run: the MLflow run that holds review.html
    windows: fingerprint of the prediction rows that it was judged on
    split: the rule that assigned the periods
    data: digest of the source's files, as MLflow's data set of the run has it
    commit: of the code, with `+` where it had changes that weren't committed
    zenml_run: name of the pipeline run
    beats_anchor: whether it was surely better than the best champion on record
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    fingerprint: str | None = None
    serves: str | None = None
    gate: Literal["passed", "failed"] | None = None
    judged_against: str | None = None
    metric: str | None = None
    value: float | None = None
    newest_interaction: int | None = None
    review_run: str | None = None
    windows: str | None = None
    split: str | None = None
    data: str | None = None
    commit: str | None = None
    zenml_run: str | None = None
    beats_anchor: Literal["yes", "no"] | None = None

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Self:
        """Of MLflow's; a value that somebody wrote by hand and that is none counts as not on record."""
        known = {name: tags[name] for name in cls.model_fields if name in tags}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            wrong = {str(one["loc"][0]) for one in error.errors()}
            return cls.model_validate({name: text for name, text in known.items() if name not in wrong})

    def written(self) -> dict[str, str]:
        """As MLflow keeps them."""
        return {name: str(value) for name, value in self if value is not None}

    def figure(self) -> str:
        """`ndcg@10 0.0512`, for people."""
        value = "-" if self.value is None else f"{self.value:.4f}"
        return f"{self.metric or ''} {value}".strip()
