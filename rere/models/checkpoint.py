"""Checkpoints: sealed directories that hold a trained model and its training records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rere.artifacts.manifest import fingerprint, is_sealed, seal, sealed, verify
from rere.models.attention import own_attention
from rere.models.loading import SAFE, SAFE_WEIGHTS, plain_decoding, to_device
from rere.models.probe import probe, require_same

CLOCK = ("seconds", "tokens_per_second")  # entries of training records that differ between runs of the same training


@dataclass(frozen=True)
class Checkpoint:
    """A sealed directory: weights (safetensors), config, `curves.jsonl`, `training.json`."""

    path: Path

    @classmethod
    def finished(cls, path: Path) -> Self | None:
        """The one there, where its training was killed after it was stored; RereError if it was altered since."""
        if not is_sealed(path):
            return None
        found = cls(path)
        found.verify()
        return found

    def verify(self) -> dict[str, str]:
        """Check every file against the manifest; raises RereError if one is incomplete or altered."""
        return verify(self.path)

    def sums(self) -> dict[str, str]:
        """File -> SHA-256 from the manifest, which are not checked here but by `verify`."""
        return sealed(self.path)

    def identity(self) -> str:
        """SHA-256 of what determines the model's output: weights and architecture.

        Training records and the version of transformers that wrote it are left out: a model that is trained again to
        the same weights is the same model.
        """
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        config.pop("transformers_version", None)
        weights = {
            name: digest for name, digest in self.sums().items() if name.endswith((".safetensors", ".index.json"))
        }
        return fingerprint({**weights, "config": json.dumps(config, sort_keys=True)})

    def content(self) -> str:
        """SHA-256 of the model and its training records, without their timings."""
        curves = [_timeless(record) for record in self.curves()]
        return fingerprint({"model": self.identity(), "curves": json.dumps(curves), "facts": _facts(self.facts())})

    def curves(self) -> list[dict[str, float]]:
        """Training records in order, each with `update` and the metrics measured there."""
        path = self.path / "curves.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def facts(self) -> dict[str, Any]:
        """The training's settings, counts, seconds and parent."""
        path = self.path / "training.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def load_model(self, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
        """The model in evaluation mode, on the default device."""
        self.verify()
        return to_device(_read(self.path, dtype))


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in CLOCK}


def _facts(facts: dict[str, Any]) -> str:
    return json.dumps(_timeless(facts), sort_keys=True)


def _read(directory: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A checkpoint's model in evaluation mode, on the CPU."""
    own = own_attention(AutoConfig.from_pretrained(directory, local_files_only=True, **SAFE))
    options = {**SAFE_WEIGHTS, **own, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, **options)
    return cast(PreTrainedModel, plain_decoding(model).eval())


def save_checkpoint(
    model: PreTrainedModel,
    directory: Path,
    curves: Iterable[dict[str, float]],
    facts: dict[str, Any],
    *,
    trained: torch.Tensor | None = None,
    beside: Mapping[str, dict[str, torch.Tensor]] = MappingProxyType({}),
) -> Checkpoint:
    """Write a model with its training records and seal it; an existing directory is replaced.

    Args:
        trained: the model's `probe` before its adapters were merged; by default its probe now.
        beside: further tensors, by the stem of the file that has them.

    Raises:
        RereError: the stored model's probe differs; the directory is left unsealed.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model.save_pretrained(directory, safe_serialization=True)
    for name, tensors in beside.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, directory / f"{name}.safetensors")
    (directory / "curves.jsonl").write_text("".join(json.dumps(r) + "\n" for r in curves), encoding="utf-8")
    (directory / "training.json").write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")
    require_same(probe(_read(directory)), probe(model) if trained is None else trained, str(directory))
    seal(directory)
    return Checkpoint(directory)
