"""What doesn't fit into a model's context is refused before work begins; what just fits is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from rere.catalog.index import CatalogIndex
from rere.config.backbone import ScratchModel
from rere.config.decoding import SearchSettings
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.decoding.beam import beam_search
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.context import context_of, longest_possible, longest_prompt, require_room
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.train import train_rl
from rere.training.rows import sequence_rows
from rere.training.sft.train import train_sft
from tests.conftest import TINY

SFT = SFTConfig(distillation=None, normalisation="vocab", epochs=1, batch_tokens=64, sequence_items=8)
RL = RLConfig(num_generations=4, prompts=16, device_batch_prompts=16, updates=1, rewards=(RuleReward(),))


@pytest.fixture
def reading(world_catalog: CatalogIndex, tmp_path: Path) -> Callable[[int], Checkpoint]:
    """A GPT-2, whose positions end, that reads so many tokens."""

    def make(context: int) -> Checkpoint:
        sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": context}
        config = AutoConfig.for_model("gpt2", vocab_size=len(world_catalog.tokenizer), **sizes)
        return save_checkpoint(AutoModelForCausalLM.from_config(config), tmp_path / f"reads-{context}", [], {})

    return make


def never(metrics: Any, update: int) -> None:
    raise AssertionError("it began")


def nothing(metrics: Any, update: int) -> None:
    pass


def test_contexts_by_architecture() -> None:
    assert context_of(AutoConfig.for_model("gpt2", n_positions=77)) == 77
    assert context_of(AutoConfig.for_model("llama", max_position_embeddings=78)) == 78
    assert context_of(AutoConfig.for_model("mamba")) is None  # no positions
    require_room(None, 10**9)


def test_the_longest_prompt_is_the_one_that_a_loop_finds(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    item = max(map(len, world_catalog.item_tokens))
    histories = world_windows.table["history"]
    prompts = [len(world_catalog.prompt([world_catalog.index_of[name] for name in history])) for history in histories]
    assert longest_prompt(world_windows, world_catalog) == max(prompts) + item
    short = Windows(world_windows.table[histories.map(len) == 1], history_items=4)
    assert longest_prompt(short, world_catalog) < max(prompts) + item
    again = world_catalog.prompt([world_catalog.item_tokens.index(max(world_catalog.item_tokens, key=len))] * 4)
    assert longest_possible(world_catalog, 4) == len(again) + item


def test_training_is_refused_before_it_begins(
    world_windows: Windows, world_catalog: CatalogIndex, reading: Callable[[int], Checkpoint], tmp_path: Path
) -> None:
    needed = longest_prompt(world_windows, world_catalog)
    short, enough = reading(needed - 1), reading(needed)
    config = SFT.model_copy(update={"rows": "window"})
    refused = rf"context of {needed - 1} tokens; got {needed}\..*fewer `windows.history_items`"
    with pytest.raises(RereError, match=refused):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path / "short", log=never, start=short)
    train_sft(world_windows, world_catalog, TINY, config, tmp_path / "enough", log=nothing, start=enough)
    with pytest.raises(RereError, match=refused):
        train_rl(short, world_windows, world_catalog, RL, tmp_path / "rl-short", log=never)
    train_rl(enough, world_windows, world_catalog, RL, tmp_path / "rl-enough", log=nothing)


def test_a_row_of_a_whole_sequence_must_fit_too(
    world_windows: Windows, world_catalog: CatalogIndex, reading: Callable[[int], Checkpoint], tmp_path: Path
) -> None:
    rows = sequence_rows(world_windows.of("train"), world_catalog, world_windows.history_items, SFT.sequence_items)
    longest = max(len(row["input_ids"]) for row in rows)
    assert longest > longest_prompt(world_windows, world_catalog)
    with pytest.raises(RereError, match=r"fewer `sft\.sequence_items`"):
        train_sft(world_windows, world_catalog, TINY, SFT, tmp_path, log=never, start=reading(longest - 1))
    train_sft(world_windows, world_catalog, TINY, SFT, tmp_path, log=nothing, start=reading(longest))


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_a_scratch_model_reads_whatever_it_may_be_asked(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, architecture: Any
) -> None:
    backbone = ScratchModel(architecture=architecture, layers=1, width=8, heads=1)
    usual = context_of(load_model(backbone, len(world_catalog.tokenizer), seed=0).config)
    assert usual is not None
    long = Windows(world_windows.table, history_items=usual)
    model = train_sft(long, world_catalog, backbone, SFT.model_copy(update={"epochs": 0}), tmp_path, log=nothing)
    assert context_of(model.load_model().config) == longest_possible(world_catalog, usual) > usual


def test_a_search_is_refused_where_the_prompt_just_does_not_fit(
    world_catalog: CatalogIndex, reading: Callable[[int], Checkpoint]
) -> None:
    prompt = world_catalog.prompt([0, 1, 2])
    needed = len(prompt) + world_catalog.trie.max_length
    model = TreeModel(reading(needed).load_model().cpu())
    beam_search(model, world_catalog.trie, [prompt], SearchSettings(beams=24))
    with pytest.raises(RereError, match=f"context of {needed} tokens; got {needed + 1}"):
        beam_search(model, world_catalog.trie, [[*prompt, 3]], SearchSettings(beams=24))
    recommender = GenerativeRecommender("short", reading(needed - 1).path, world_catalog)
    with pytest.raises(RereError, match="another backbone"):
        recommender.recommend([[0, 1, 2]], 2)
