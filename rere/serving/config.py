"""Settings of the service (sizes of batches and queues, limits on requests, times) and of batch inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from rere.config.base import Settings
from rere.config.data import Place, SourceSettings, TableFormat
from rere.config.decoding import InferencePrecision, Normalisation, SearchSettings
from rere.config.variants import OneOf

PRECISION = (
    "of the weights while answering; int8: of the linear layers, on a CPU. Scores change a little, and so may the "
    "order of items whose scores are close"
)


class ServingConfig(Settings):
    batch_requests: int = Field(default=64, ge=1, description="requests searched together at most")
    batch_tokens: int = Field(default=16_384, ge=1, description="prompt tokens of a batch at most, past its first one")
    queue_requests: int = Field(default=512, ge=1, description="requests that wait at most; the next gets 429")
    deadline_seconds: float = Field(default=10.0, gt=0, description="a request that takes longer gets 408")
    precision: InferencePrecision = Field(default="float32", description=PRECISION)
    prefix_tokens: int = Field(default=32_768, ge=0, description="prompt tokens kept computed; 0: none")
    lookahead_tokens: int = Field(
        default=64, ge=0, description="tokens of a forward up to which further depths are searched along; 0: none"
    )
    cached_answers: int = Field(default=4_096, ge=0, description="lists kept for requests that come again")
    max_k: int = Field(default=100, ge=1, description="items a request may ask for")
    max_history: int = Field(default=1_000, ge=1, description="entries of a request's history")
    max_exclusions: int = Field(default=1_000, ge=0, description="entries of a request's exclusions")
    max_edits: int = Field(default=10_000, ge=1, description="items of one change of the catalogue")
    body_bytes: int = Field(default=1 << 18, ge=1_024, description="of a request's body")
    edit_bytes: int = Field(default=1 << 23, ge=1_024, description="of the body of a change of the catalogue")
    read_seconds: float = Field(default=10.0, gt=0, description="for a request's head to come, and for its body")
    connections: int = Field(
        default=1_024,
        ge=1,
        description="open requests; the next gets 503 (not /health, /ready, /metrics). Of more connections than that, "
        "those that have long said nothing are closed",
    )
    allowed_hosts: tuple[str, ...] | None = Field(
        default=None,
        description="names that the Host header may have, such as api.example.com or *.example.com; [default: any, "
        "on a loopback address its own names]",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="lines for people, or JSON objects")
    access_log: Literal["requests", "none"] = Field(
        default="requests", description="a line for each answer; of /health, /ready and /metrics for failures only"
    )
    poll_seconds: float = Field(default=5.0, gt=0, description="between looks at the registry's alias")
    drain_seconds: int = Field(default=20, ge=1, description="for open requests when the service is told to stop")

    def search(self, beams: int, normalisation: Normalisation) -> SearchSettings:
        """Searches of a model that was registered with these beams and normalisation."""
        return SearchSettings(
            beams=beams,
            normalisation=normalisation,
            prefix_tokens=self.prefix_tokens,
            lookahead_tokens=self.lookahead_tokens,
        )


class UserTable(Settings):
    """Parquet, CSV or TSV files with one row per user: user_id, and history: item ids or titles, oldest first.

    A history is a list (Parquet), or text: a list as JSON or Python writes it, or what `separator` says.
    """

    type: Literal["histories"] = "histories"
    path: Place = Field(description="a file or a directory of files; with `engine: {type: ray}` also a URL")
    format: TableFormat = TableFormat()
    separator: str | None = Field(
        default=None, min_length=1, description="what stands between the entries of a history, where it is plain text"
    )


class UserEvents(Settings):
    """Interactions of any source that training can read; a user's history is all of them, in order of time."""

    model_config = ConfigDict(defer_build=True)

    type: Literal["interactions"] = "interactions"
    source: Annotated[SourceSettings, OneOf("rere.data.sources.registry:SOURCES")] = Field(
        default="movielens_100k", validate_default=True
    )


class LocalBatch(Settings):
    """All users at once, in the step's process."""

    type: Literal["local"] = "local"


class RayBatch(Settings):
    """Users in parts, by actors on the nodes of a Ray cluster, each with a model (Ray Data).

    Users are Parquet files. `output` becomes a directory with one row per user, a file for each part; a run that ended
    early goes on with the parts that aren't there. Every node must reach the MLflow registry, the users and `output`.
    """

    type: Literal["ray"] = "ray"
    address: str = Field(pattern=r"^[^/:\s]+:\d+$", description="of the cluster's head, `host:port` (usually 6379)")
    min_actors: PositiveInt = Field(default=1, description="that are started at once")
    max_actors: PositiveInt = Field(default=4, description="while parts wait, up to so many")
    gpus_per_actor: Literal[0, 1] = Field(default=1, description="0: actors answer on processors")
    cpus_per_actor: PositiveFloat = Field(default=1, description="processors that an actor reserves")
    part_users: PositiveInt = Field(default=10_000, description="users that are read, answered and written together")
    autoscaling: Literal["off", "on"] = Field(
        default="off", description="on: the cluster adds nodes when asked, so that too few at the start are no error"
    )

    @model_validator(mode="after")
    def _least_and_most(self) -> Self:
        if self.min_actors > self.max_actors:
            raise ValueError(f"min_actors ({self.min_actors}) must be at most max_actors ({self.max_actors})")
        return self


class BatchConfig(Settings):
    model_config = ConfigDict(defer_build=True)

    users: Annotated[UserTable | UserEvents, Field(discriminator="type")] = Field(
        default={"type": "interactions"}, validate_default=True
    )
    model_name: str = "rere"
    alias: str = "champion"
    k: int = Field(default=10, ge=1, description="items per user")
    seen: Literal["include", "exclude"] = Field(default="exclude", description="items of the history")
    precision: InferencePrecision = Field(default="float32", description=PRECISION)
    batch_users: int = Field(default=256, ge=1, description="users searched together")
    engine: Annotated[LocalBatch | RayBatch, Field(discriminator="type")] = LocalBatch()
    output: Place | None = Field(
        default=None,
        description="also write the tables there, as Parquet; replaced whole. With `engine: {type: ray}`, a directory "
        "or URL, which must be named",
    )
    edits_file: Path | None = Field(
        default=None,
        description="changes of the catalogue, as `rere serve --edits` keeps them; null: those that `rere serve` keeps "
        "for this model, if there are any",
    )

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        if isinstance(self.engine, RayBatch):
            if not isinstance(self.users, UserTable):
                raise ValueError("`engine: {type: ray}` reads users of `type: histories`, not interactions")
            if self.output is None:
                raise ValueError("`engine: {type: ray}` writes to `output`: name a directory or a URL")
        elif isinstance(self.output, str) or (isinstance(self.users, UserTable) and isinstance(self.users.path, str)):
            raise ValueError("URLs are for `engine: {type: ray}`; `engine: {type: local}` reads and writes files")
        return self
