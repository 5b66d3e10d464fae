"""What is wrong with a backbone or its settings is found before training, in one clear sentence."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from rere.artifacts.pins import not_pinned, pinned, unpinned
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.index import build_index
from rere.config.backbone import GGUFModel, HubModel, LocalModel
from rere.config.catalog import IndexConfig, SentenceEmbedding
from rere.config.ingest import IngestConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.config.training import FullFineTuning, LoRA
from rere.data.sources.hub import HubDataset
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.training.check import check_backbone
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.rewards.semantic import SemanticReward
from tests.decoding.test_architectures import ARCHITECTURES, REFUSED, tiny

ALL = FullFineTuning()
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def save_tokenizer(directory: Path, **special: str) -> None:
    """One token a character; with only the special tokens asked for."""
    known = {token: n for n, token in enumerate(dict.fromkeys([*special.values(), *LETTERS, "Ġ", "[", "]", "."]))}
    inner = Tokenizer(models.BPE(known, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(directory)


def saved(directory: Path, name: str = "llama", **special: str) -> Path:
    """A whole tiny model with its tokenizer."""
    kind, options = {**ARCHITECTURES, **REFUSED}[name]
    tiny(kind, options | {"vocab_size": 80}).save_pretrained(directory)
    save_tokenizer(directory, **(special or {"eos_token": "<end>", "pad_token": "<pad>"}))
    return directory


def check(directory: Path, adaptation: FullFineTuning | LoRA = ALL) -> None:
    check_backbone(
        IndexConfig(code=PrefixCode(), backbone=LocalModel(path=directory)),
        SFTConfig(distillation=None, normalisation="vocab", adaptation=adaptation),
        RLConfig(),
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_supported_architectures_pass_and_load(tmp_path: Path, name: str) -> None:
    directory = saved(tmp_path, name)
    check(directory, LoRA())
    assert load_model(LocalModel(path=directory), vocabulary=80, seed=0).config.vocab_size == 80


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_search_does_not_know_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RereError, match="use another"):
        check(saved(tmp_path, name))


@pytest.mark.parametrize("special", [{"eos_token": "<end>"}, {"eos_token": "<end>", "pad_token": "<pad>"}])
def test_a_tokenizer_without_a_padding_token_will_do(tmp_path: Path, special: dict[str, str]) -> None:
    check(saved(tmp_path, "llama", **special))


def _without_tokenizer(directory: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (directory / name).unlink(missing_ok=True)


def _without_end(directory: Path) -> None:
    _without_tokenizer(directory)
    save_tokenizer(directory, bos_token="<s>")


def _cut(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _pointer(directory: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (directory / "model.safetensors").write_text(text, encoding="utf-8")


def _pickled(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")


def _configured(**values: object) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        (directory / "config.json").write_text(json.dumps(config | values), encoding="utf-8")

    return change


def _shard_missing(directory: Path) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (_without_tokenizer, "a tokenizer with the model"),
    "junk tokenizer": (lambda directory: (directory / "tokenizer.json").write_text("{}"), "a tokenizer with the model"),
    "no end token": (_without_end, "set its `eos_token`"),
    "cut weights": (_cut, "cut or damaged"),
    "empty weights": (lambda directory: (directory / "model.safetensors").write_bytes(b""), "cut or damaged"),
    "LFS pointer": (_pointer, "git lfs pull"),
    "pickled weights": (_pickled, r"got pytorch_model\.bin.*could run code"),
    "no weights": (lambda directory: (directory / "model.safetensors").unlink(), "got none"),
    "missing shard": (_shard_missing, "no model-00002-of-00002"),
    "junk index": (lambda directory: (directory / "model.safetensors.index.json").write_text("[]"), "a weight map"),
    "no config": (lambda directory: (directory / "config.json").unlink(), r"no config\.json"),
    "junk config": (lambda directory: (directory / "config.json").write_text("{"), "JSON in"),
    "GPTQ": (_configured(quantization_config={"quant_method": "gptq", "bits": 4}), "quantised by gptq"),
    "bitsandbytes": (
        _configured(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "quantised by bitsandbytes",
    ),
    "own code": (
        _configured(model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}),
        "never run here",
    ),
    "unknown type": (_configured(model_type="nonsense"), "a causal language model"),
    "no language model": (_configured(model_type="vit"), "a causal language model"),
    "absurd sizes": (_configured(num_attention_heads=3, head_dim=None), "a causal language model"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_directory_is_one_clear_error(tmp_path: Path, name: str) -> None:
    directory = saved(tmp_path)
    breaks, said = BROKEN[name]
    breaks(directory)
    with pytest.raises(RereError, match=said) as found:
        check(directory)
    assert "\n" not in str(found.value)


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    _configured(num_hidden_layers=3)(directory)
    with pytest.raises(RereError, match=r"got none of the right shape for model\.layers\.2"):
        load_model(LocalModel(path=directory), vocabulary=80, seed=0)


def test_tied_weights_are_no_missing_weights(tmp_path: Path) -> None:
    config = AutoConfig.for_model("llama", vocab_size=80, **ARCHITECTURES["llama"][1], tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, eos_token="<end>")
    load_model(LocalModel(path=tmp_path), vocabulary=80, seed=0)


@pytest.mark.parametrize("content", [b"", b"junk", b"GGUF", b"GGUF" + bytes(64), b"version https://git-lfs\n"])
def test_a_file_that_is_no_gguf_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("RERE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(RereError):
        check_backbone(
            IndexConfig(code=PrefixCode(), backbone=GGUFModel(path=tmp_path / "model.gguf")),
            SFTConfig(distillation=None, normalisation="vocab"),
            RLConfig(),
        )


@pytest.mark.parametrize("directory", ["nowhere", "a file"])
def test_a_directory_without_a_model(tmp_path: Path, directory: str) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    with pytest.raises(RereError, match="a model directory at"):
        check(tmp_path / directory)


def test_an_instruction_that_leaves_no_room_in_the_context(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    _configured(max_position_embeddings=16)(directory)
    for instruction, fits in (("a" * 14, True), ("a" * 15, False)):  # a token a letter, and two items
        index = IndexConfig(code=PrefixCode(), backbone=LocalModel(path=directory), instruction=instruction)
        with contextlib.nullcontext() if fits else pytest.raises(RereError, match="context of 16 tokens; got 17"):
            check_backbone(index, SFTConfig(distillation=None, normalisation="vocab"), RLConfig())


@pytest.mark.parametrize("targets", [["q_proj", "nonsense"], "nonsense", ["input_layernorm"], [""]])
def test_targets_that_the_backbone_lacks(targets: list[str] | str) -> None:
    lora, plain = LoRA(targets=targets), FullFineTuning()
    for sft, rl in ((lora, plain), (plain, lora)):
        with pytest.raises(RereError, match="LoRA targets that Qwen2ForCausalLM has"):
            check_backbone(
                IndexConfig(code=PrefixCode()),
                SFTConfig(distillation=None, normalisation="vocab", adaptation=sft),
                RLConfig(adaptation=rl),
            )


def test_the_head_has_no_adapter_in_supervised_fine_tuning() -> None:
    """The trainer reads its weights directly; RL's own forward doesn't."""
    head = LoRA(targets=["q_proj", "lm_head"])
    with pytest.raises(RereError, match="its head"):
        check_backbone(
            IndexConfig(code=PrefixCode()),
            SFTConfig(distillation=None, normalisation="vocab", adaptation=head),
            RLConfig(),
        )
    check_backbone(
        IndexConfig(code=PrefixCode()), SFTConfig(distillation=None, normalisation="vocab"), RLConfig(adaptation=head)
    )


def test_names_on_a_hub_take_the_commits_that_are_known(tmp_path: Path) -> None:
    commit, held = "0123456789" * 4, "abcdef0123" * 4
    source = HubDataset(interactions="me/clicks", items="me/items", items_revision=held)
    data, catalog = IngestConfig(source=source), IndexConfig(code=PrefixCode(), backbone=HubModel(id="org/model"))
    rl = RLConfig(rewards=(RuleReward(), SemanticReward(embedding=SentenceEmbedding(model="org/vectors"))))
    assert unpinned(data) == ["me/clicks (revision main)"]
    commits = {f"{name}@main": commit for name in ("datasets/me/clicks", "org/model", "org/vectors")}
    then_data, then_catalog, then_rl = pinned(data, commits), pinned(catalog, commits), pinned(rl, commits)
    assert unpinned(then_data, then_catalog, then_rl) == []
    assert then_data == data.model_copy(update={"source": source.model_copy(update={"interactions_revision": commit})})
    assert then_catalog.backbone == HubModel(id="org/model", revision=commit)
    assert then_rl.rewards[0] == rl.rewards[0]
    assert pinned(rl, {"org/model@main": commit}) == rl
    assert pinned(data, {"me/clicks@main": commit}) == data  # a model of the data set's name


def test_what_is_not_pinned_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub, commit = HubModel(id="org/model"), "0123456789" * 4
    reward = SemanticReward(embedding=SentenceEmbedding(model="org/vectors"))
    local = SentenceEmbedding(model=str(tmp_path))
    settings = (
        IndexConfig(code=SemanticCode(embedding=local), backbone=hub),
        RLConfig(rewards=(reward,)),
    )
    assert unpinned(*settings) == ["org/model (revision main)", "org/vectors (revision main)"]
    assert unpinned(IndexConfig(code=PrefixCode(), backbone=HubModel(id="org/model", revision=commit))) == []
    assert not_pinned([("me/clicks", "main"), ("me/items", commit), (str(tmp_path), "main")]) == [
        "me/clicks (revision main)"
    ]
    with caplog.at_level(logging.WARNING):
        check_backbone(
            IndexConfig(code=PrefixCode()),
            SFTConfig(distillation=None, normalisation="vocab"),
            RLConfig(rewards=(reward,)),
        )
    assert "org/vectors (revision main)" in caplog.text


def test_a_catalogue_is_indexed_without_an_end_only_where_none_is_needed(
    tmp_path: Path, world_items: pd.DataFrame
) -> None:
    directory = saved(tmp_path, "llama", bos_token="<s>")
    with pytest.raises(RereError, match="set its `eos_token`"):
        build_index(world_items, IndexConfig(code=PrefixCode(), backbone=LocalModel(path=directory)))
