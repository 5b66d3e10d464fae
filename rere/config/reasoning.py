"""Settings of reasoning: text that the model writes before a recommendation head ranks the catalogue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rere.config.training import UpdateSettings


class ReasoningConfig(UpdateSettings):
    """Training of the recommendation head and of the writer (after RPORec, arXiv 2605.21967)."""

    tokens: int = Field(
        default=48, ge=0, description="of a reasoning, at most; 0: nothing is written, and the head reads the prompt"
    )
    cue: str = Field(default="\nWhy: ", description="text between the prompt and the reasoning, such as <think>")
    closing: str = Field(
        default="\nNext: ",
        min_length=1,
        description="text after the reasoning, such as </think>; the head reads the hidden state at its last token",
    )
    num_generations: int = Field(default=4, ge=2, description="reasonings per prompt, G")
    reward: Literal["log_probability", "rank"] = Field(
        default="log_probability",
        description="of a reasoning: the head's log-probability of the target after it (nats), or 1 / log2(1 + rank)",
    )
    head_updates: int = Field(
        default=100, ge=0, description="first updates, in which rewards count nothing: the head learns what they say"
    )
    head_learning_rate: PositiveFloat = Field(default=1e-3, description="of the head; the model has `learning_rate`")
    beta: float = Field(default=1e-2, ge=0, description="weight of the k3 KL of what is written to the start")
    learning_rate: PositiveFloat = 1e-4
    updates: PositiveInt | None = 400
    probe_rows: int = Field(default=0, ge=0, description="as in RL; a reasoning is written for each such row")
    epochs: PositiveInt = 2

    @model_validator(mode="after")
    def _prompts_are_separate(self) -> ReasoningConfig:
        if self.prefill.type != "window":
            raise ValueError("reasoning goes with prefill: {type: window}: stock `generate` writes it")
        return self
