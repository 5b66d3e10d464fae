"""Checks of a foreign model's files before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from rere.errors import RereError

LFS = b"version https://git-lfs"
GGUF_MAGIC = b"GGUF"
LONGEST = 300  # characters of a library's message


def check_model_directory(path: Path) -> None:
    """Raises RereError if a directory holds no model configuration, or that of a quantised model."""
    if not (path / "config.json").is_file():
        got = "a file" if path.is_file() else "no config.json there" if path.is_dir() else "no such directory"
        raise RereError(f"a model directory at {path}", got, "give the directory of a saved model")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise RereError(f"JSON in {path / 'config.json'}", _short(error), "fetch the model again") from error
    refuse_quantised(config.get("quantization_config"), str(path))


def check_weights(path: Path) -> None:
    """Raises RereError if a model directory lacks some safetensors weights; reads headers only."""
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RereError(f"a weight map in {index}", _short(error), "fetch the model again") from error
        if missing := [name for name in names if not (path / name).is_file()]:
            raise RereError(f"the files that {index} lists", f"no {', '.join(missing)}", "fetch them too")
        files = [path / name for name in names]
    else:
        files = sorted(path.glob("*.safetensors"))
    if not files:
        others = [file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for file in path.glob(pattern)]
        raise RereError(
            f"weights as .safetensors in {path}",
            ", ".join(others) or "none",
            "save it as safetensors (`save_pretrained` does): pickled weights could run code, and are not read",
        )
    for file in files:
        _check_file(file)


def check_gguf(path: Path) -> None:
    """Raises RereError if the file is not a GGUF file."""
    if not path.is_file():
        raise RereError(f"a GGUF file at {path}", "no such file", "correct `backbone.path`")
    _refuse_pointer(path)
    with path.open("rb") as file:
        begin = file.read(len(GGUF_MAGIC))
    if begin != GGUF_MAGIC:
        raise RereError(f"a GGUF file at {path}", f"one that begins with {begin!r}", "correct `backbone.path`")


def refuse_quantised(quantisation: Any, name: str) -> None:
    """Raises RereError for quantised weights: they cannot be trained.

    Args:
        name: of the model, in the message.
    """
    if quantisation is None:
        return
    given = quantisation if isinstance(quantisation, dict) else vars(quantisation)
    raise RereError(
        f"weights in full precision at {name}",
        f"weights quantised by {given.get('quant_method') or 'some method'}",
        "use the model that it was made from (GGUF files are converted; others are not)",
    )


@contextmanager
def reading(what: str, remedy: str) -> Iterator[None]:
    """Turn every error of a library that reads foreign files into a RereError of one line.

    All errors are caught because libraries neither document nor keep the types that they raise for malformed files.
    """
    try:
        yield
    except (RereError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise RereError(
                what,
                "a model that brings its own code, which is never run here",
                "use an architecture that transformers has itself",
            ) from error
        raise RereError(what, _short(error), remedy) from error


def _check_file(file: Path) -> None:
    _refuse_pointer(file)
    try:
        with safe_open(file, framework="pt") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise RereError(
            f"whole weights in {file}", f"a file that is cut or damaged ({error})", "fetch it again"
        ) from error


def _refuse_pointer(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            raise RereError(f"weights in {file}", "a Git LFS pointer to them", "run `git lfs pull` where it was cloned")


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST].rstrip('.')}"
