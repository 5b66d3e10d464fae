"""Several instructions: one is drawn for each row and epoch in training; everything else takes the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import TrainerControl, TrainerState

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.rl import AlteredHistories, RLConfig
from rere.config.sft import SFTConfig
from rere.config.training import SequencePrefill, WindowPrefill
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.models.trunks import Trunks
from rere.training.instructions import HeadDraw
from rere.training.prefill import PrefillGroups
from rere.training.rl.train import train_rl
from rere.training.rows import NUMBER, Collator, sequence_rows, window_rows
from rere.training.sft.callbacks import Instructions
from rere.training.sft.inputs import collator, datasets_of
from rere.training.sft.train import train_sft
from tests.catalog.test_prompts import chat_index
from tests.conftest import TINY
from tests.training.killed import Killed, killed_after_epoch

POOL = ("Next of", "Star after", "Which Moon follows the")
SFT = SFTConfig(
    distillation=None, normalisation="vocab", epochs=2, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool_catalog(world_items: pd.DataFrame) -> CatalogIndex:
    return build_index(world_items, IndexConfig(code=PrefixCode(), backbone=TINY, instruction=POOL))


def drawn(catalog: CatalogIndex, epoch: int, seed: int = 0) -> list[int]:
    """Which instruction each of 90 rows has."""
    draw = HeadDraw(catalog, seed, epoch)
    return [catalog.prompt_heads.index(draw(row)) for row in range(90)]


def test_a_draw_depends_on_seed_epoch_and_row_alone(pool_catalog: CatalogIndex) -> None:
    assert set(drawn(pool_catalog, 0)) == {0, 1, 2}
    assert drawn(pool_catalog, 0) == drawn(pool_catalog, 0)
    assert drawn(pool_catalog, 1) != drawn(pool_catalog, 0) != drawn(pool_catalog, 0, seed=1)
    assert {HeadDraw(pool_catalog)(row) for row in range(90)} == {pool_catalog.prompt_head}


@pytest.mark.parametrize("kind", ["window", "sequence"])
def test_a_batch_is_as_if_rows_had_been_made_with_the_drawn_instruction(
    world_windows: Windows, pool_catalog: CatalogIndex, kind: str
) -> None:
    train = world_windows.of("train")[:40]

    def made(catalog: CatalogIndex) -> list[dict[str, Any]]:
        return list(window_rows(train, catalog) if kind == "window" else sequence_rows(train, catalog, 4, 8))

    with_each = []
    for head in pool_catalog.prompt_heads:
        parts = {name: getattr(pool_catalog, name) for name in ("items", "trie", "tokenizer", "config")}
        with_each.append(made(CatalogIndex(prompt_head=head, **parts)))
    draw = HeadDraw(pool_catalog, seed=0, epoch=3)
    rows = [{**row, NUMBER: number} for number, row in enumerate(made(pool_catalog))]
    numbers = [pool_catalog.prompt_heads.index(draw(number)) for number in range(len(rows))]
    assert len(set(numbers)) == 3
    found = Collator(0, 4, draw)(rows)
    expected = Collator(0, 4)([with_each[own][number] for number, own in enumerate(numbers)])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("settings", [SFT, SFTConfig(sequence_items=8)])
def test_only_training_rows_are_drawn(world_windows: Windows, pool_catalog: CatalogIndex, settings: SFTConfig) -> None:
    train, valid = datasets_of(world_windows, pool_catalog, settings)
    assert train[NUMBER] == list(range(len(train)))  # rows of altered histories too
    assert NUMBER not in valid.column_names
    batches = collator(world_windows, pool_catalog, settings, None)
    first = batches([valid[0]])["input_ids"][0].tolist()
    assert first[: len(pool_catalog.prompt_head)] == list(pool_catalog.prompt_head)


def test_one_instruction_needs_no_numbers(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    train, _ = datasets_of(world_windows, world_catalog, SFT)
    assert NUMBER not in train.column_names
    assert collator(world_windows, world_catalog, SFT, None).draw is None


def test_every_epoch_draws_anew(pool_catalog: CatalogIndex) -> None:
    batches = Collator(0, 4)
    callback = Instructions(batches, pool_catalog, seed=5)
    for epoch in (0, 1, 2):
        callback.on_epoch_begin(None, TrainerState(epoch=float(epoch)), TrainerControl())
        assert batches.draw is not None
        assert [batches.draw(row) for row in range(90)] == [
            pool_catalog.prompt_heads[own] for own in drawn(pool_catalog, epoch, seed=5)
        ]


def test_a_killed_fine_tuning_goes_on_with_the_draws_it_would_have_had(
    world_windows: Windows, pool_catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = train_sft(world_windows, pool_catalog, TINY, SFT, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_sft(world_windows, pool_catalog, TINY, SFT, tmp_path / "killed", log=killed_after_epoch(1))
    again = train_sft(world_windows, pool_catalog, TINY, SFT, tmp_path / "killed", log=lambda *_: None)
    expected = whole.load_model().state_dict()
    for name, weight in again.load_model().state_dict().items():
        torch.testing.assert_close(weight, expected[name])


@pytest.mark.parametrize("prefill", [WindowPrefill(), SequencePrefill(prompts=5)])
def test_prompts_of_rl_begin_with_the_drawn_instruction(
    world_windows: Windows, pool_catalog: CatalogIndex, prefill: WindowPrefill | SequencePrefill
) -> None:
    histories, targets = indexed_rows(world_windows.of("train"), pool_catalog.index_of)
    groups, draw = PrefillGroups(world_windows, pool_catalog, histories, targets, prefill), HeadDraw(pool_catalog, 0, 2)
    rows = np.arange(14)  # two users' seven rows each, in trunks of five and two
    prompts = groups.prompts(rows, CPU, draw)
    heads = [draw(row) for row in range(14)]
    if isinstance(prompts, Trunks):
        heads = [draw(first) for first, size in ((0, 5), (5, 2), (7, 5), (12, 2)) for _ in range(size)]
        pairs = zip(prompts.source, prompts.lengths.tolist(), strict=True)
        prompts = [prompts.tokens[source[:length]].tolist() for source, length in pairs]
    assert len(set(heads)) > 1
    assert list(prompts) == [pool_catalog.prompt(histories[row], heads[row]) for row in range(14)]


@pytest.mark.parametrize(
    "choice", [{"prefill": SequencePrefill(prompts=5)}, {"histories": AlteredHistories()}], ids=["trunks", "altered"]
)
def test_rl_trains_with_several_instructions(
    world_windows: Windows, pool_catalog: CatalogIndex, tmp_path: Path, choice: dict[str, Any]
) -> None:
    start = train_sft(
        world_windows, pool_catalog, TINY, SFT.model_copy(update={"epochs": 0}), tmp_path / "sft", log=lambda *_: None
    )
    config = RLConfig.model_validate(
        {"num_generations": 4, "prompts": 16, "device_batch_prompts": 8, "updates": 2, "rewards": ["rule"], **choice}
    )
    checkpoint = train_rl(start, world_windows, pool_catalog, config, tmp_path / "rl", log=lambda *_: None)
    assert checkpoint.curves()[-1]["update"] == 2


def test_a_chat_is_trained_by_windows_and_refused_by_sequence(
    world_windows: Windows, tmp_path: Path, world_items: pd.DataFrame
) -> None:
    catalog = chat_index(tmp_path, world_items, ("next.", "what.next."))
    row = next(window_rows(world_windows.of("train"), catalog))
    answer = len(row["input_ids"]) - len(catalog.item_tokens[row["items"][-1]])
    assert row["input_ids"][:answer] == catalog.prompt(row["items"][:-1])
    assert tuple(row["input_ids"][answer - len(catalog.prompt_tail) : answer]) == catalog.prompt_tail
    with pytest.raises(RereError, match="got a chat template"):
        datasets_of(world_windows, catalog, SFT)
    histories, targets = indexed_rows(world_windows.of("train"), catalog.index_of)
    with pytest.raises(RereError, match="set `prefill"):
        PrefillGroups(world_windows, catalog, histories, targets, SequencePrefill(prompts=5))
    config = SFT.model_copy(update={"rows": "window", "epochs": 1})
    checkpoint = train_sft(
        world_windows, catalog, catalog.config.backbone, config, tmp_path / "sft", log=lambda *_: None
    )
    assert checkpoint.curves()
