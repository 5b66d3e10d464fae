"""`code: item`: a token per item that means its title and a vector of its own, from training to serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rere.catalog.codes.item import ItemTokenCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.tokenization import spell
from rere.catalog.warm_start import continue_index, continued_or_new
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig
from rere.config.decoding import Normalisation, SearchSettings
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.decoding.beam import beam_search
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint
from rere.models.item_tokens import embed_items, train_by_titles
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender
from rere.serving.engine.deployment import Query
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.live_catalog import CatalogEdits
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.training.killed import Killed, killed_after_epoch
from tests.training.test_check import saved

CONFIG = IndexConfig(backbone=TINY, code=ItemTokenCode())
QUICK = SFTConfig(
    distillation=None, normalisation="vocab", epochs=3, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)


@pytest.fixture(scope="module")
def catalog(world_items: pd.DataFrame) -> CatalogIndex:
    return build_index(world_items, CONFIG)


def frame(**titles: str) -> pd.DataFrame:
    return pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})


def embedding(model: PreTrainedModel) -> torch.nn.Parameter:
    return cast(torch.nn.Parameter, model.get_input_embeddings().weight)


def title_mean(model: PreTrainedModel, catalog: CatalogIndex, title: str) -> torch.Tensor:
    [pieces] = spell(catalog.tokenizer, [title])
    return embedding(model)[pieces].mean(0)


def row(model: PreTrainedModel, catalog: CatalogIndex, item: str) -> torch.Tensor:
    [token] = catalog.item_tokens[catalog.index_of[item]]
    return embedding(model)[token]


def test_each_item_has_one_token_after_the_tokenizers(catalog: CatalogIndex, tmp_path: Path) -> None:
    own = len(catalog.tokenizer)
    assert catalog.item_tokens == [[own + n] for n in range(24)]
    assert catalog.vocabulary == own + 24
    assert catalog.prompt([2, 0]) == [*catalog.prompt_head, own + 2, own]
    catalog.save(tmp_path)
    loaded = CatalogIndex.load(tmp_path)
    assert (loaded.item_tokens, loaded.vocabulary) == (catalog.item_tokens, catalog.vocabulary)


def test_a_token_is_never_given_to_a_second_item(catalog: CatalogIndex) -> None:
    own = len(catalog.tokenizer)
    grown = extend_index(catalog, frame(new="Moon Trip again"))
    assert grown.item_tokens[24] == [own + 24]
    shrunk = continue_index(grown, frame(**dict(zip(catalog.item_ids, catalog.titles, strict=True))))  # `new` left
    after = continue_index(shrunk, frame(i0=catalog.titles[0], newer="Star"))
    assert after.item_tokens == [[own], [own + 25]]
    assert after.vocabulary == own + 26
    _, start = continued_or_new(catalog, frame(i0=catalog.titles[0], newer="Star"), CONFIG, 0.5)
    assert start.type == "champion"


@pytest.mark.parametrize("tied", [True, False])
def test_an_items_row_begins_as_the_mean_of_its_titles_tokens(catalog: CatalogIndex, tied: bool) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    spare = catalog.vocabulary + 9  # rows that the tokenizer doesn't use, as many pretrained models have
    config = AutoConfig.for_model("llama", vocab_size=spare, tie_word_embeddings=tied, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    embed_items(model, catalog, first=0)
    assert model.config.vocab_size == catalog.vocabulary
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert layer.weight.shape == (catalog.vocabulary, 8)
        for item, title in enumerate(catalog.titles):
            [pieces] = spell(catalog.tokenizer, [title])
            wanted = sum(layer.weight[piece] for piece in pieces) / len(pieces)
            torch.testing.assert_close(layer.weight[catalog.item_tokens[item][0]], wanted)
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    TreeModel(model)  # its logits are still the model's own


def test_training_equals_that_of_title_tokens_and_own_vectors(catalog: CatalogIndex) -> None:
    """Against the formula written out: an embedding that is computed from two tables, both trained by AdamW."""
    model = load_model(TINY, len(catalog.tokenizer), seed=0).cpu().double()
    embed_items(model, catalog, first=0)
    weight = embedding(model)
    text = len(catalog.tokenizer)
    mean = torch.zeros(24, text, dtype=torch.float64)
    for item, pieces in enumerate(spell(catalog.tokenizer, catalog.titles)):
        for piece in pieces:
            mean[item, piece] += 1 / len(pieces)
    tokens = torch.nn.Parameter(weight.detach()[:text].clone())
    own = torch.nn.Parameter(torch.zeros(24, weight.shape[1], dtype=torch.float64))
    options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
    ours, theirs = torch.optim.AdamW([weight], **options), torch.optim.AdamW([tokens, own], **options)
    train_by_titles(model, catalog, ours)
    for step in range(3):
        noise = torch.randn(text + 24, weight.shape[1], generator=torch.Generator().manual_seed(step)).double()
        composed = torch.cat([tokens, mean @ tokens + own])
        for optimiser, table in ((ours, weight), (theirs, composed)):
            optimiser.zero_grad()
            (table.tanh() * noise).sum().backward()
            optimiser.step()
    torch.testing.assert_close(weight, torch.cat([tokens, mean @ tokens + own]))
    assert (own.abs() > 0).all()


def test_from_sft_through_rl_a_checkpoint_is_a_plain_one(
    world_windows: Windows, catalog: CatalogIndex, tmp_path: Path
) -> None:
    longer = QUICK.model_copy(update={"epochs": 20})
    sft = train_sft(world_windows, catalog, TINY, longer, tmp_path / "sft", log=lambda *_: None)
    plain = AutoModelForCausalLM.from_pretrained(sft.path)
    assert len(embedding(plain)) == catalog.vocabulary
    test = world_windows.of("test")
    histories = [[catalog.index_of[item] for item in history] for history in test["history"]]
    targets = [catalog.index_of[item] for item in test["target"]]
    settings = RLConfig(num_generations=4, updates=3, prompts=8, rewards=(RuleReward(),), validate_every=3)
    reinforced = train_rl(sft, world_windows, catalog, settings, tmp_path / "rl", log=lambda *_: None)
    for checkpoint in (sft, reinforced):
        ranking = GenerativeRecommender("model", checkpoint.path, catalog, normalisation="trie").recommend(histories, 2)
        hits = sum(target in row for target, row in zip(targets, ranking.items.tolist(), strict=True))
        assert hits > 30  # of 60; chance makes 5


def test_a_killed_training_ends_where_it_would_have(
    world_windows: Windows, catalog: CatalogIndex, tmp_path: Path
) -> None:
    whole = train_sft(world_windows, catalog, TINY, QUICK, tmp_path / "whole", log=lambda *_: None)
    with pytest.raises(Killed):
        train_sft(world_windows, catalog, TINY, QUICK, tmp_path / "killed", log=killed_after_epoch(2))
    again = train_sft(world_windows, catalog, TINY, QUICK, tmp_path / "killed", log=lambda *_: None)
    for name, weight in whole.load_model().state_dict().items():
        torch.testing.assert_close(again.load_model().state_dict()[name], weight)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_decoding_runs_nothing_but_the_prompts(catalog: CatalogIndex, normalisation: Normalisation) -> None:
    model = load_model(TINY, len(catalog.tokenizer), seed=0).cpu()
    embed_items(model, catalog, first=0)
    prompts = [catalog.prompt([1, 2, 3]), catalog.prompt([4])]
    found = beam_search(
        TreeModel(model.eval()), catalog.trie, prompts, SearchSettings(beams=24, normalisation=normalisation)
    )
    assert found.forwarded == sum(map(len, prompts))
    assert sorted(found.items[0].tolist()) == list(range(24))


def test_a_pretrained_backbone_gets_rows_that_mean_titles(
    catalog: CatalogIndex, world_items: pd.DataFrame, tmp_path: Path
) -> None:
    directory = saved(tmp_path)
    index = build_index(world_items, CONFIG.model_copy(update={"backbone": LocalModel(path=directory)}))
    model = load_model(LocalModel(path=directory), len(index.tokenizer), seed=0)
    embed_items(model, index, first=0)
    torch.testing.assert_close(row(model, index, "i3"), title_mean(model, index, index.titles[3]))
    torch.testing.assert_close(row(model, index, "i5"), row(model, index, "i3"))  # one title: told apart by training


def test_an_item_added_while_serving_ranks_by_its_title(
    world_windows: Windows, catalog: CatalogIndex, tmp_path: Path
) -> None:
    checkpoint = train_sft(world_windows, catalog, TINY, QUICK, tmp_path, log=lambda *_: None)
    model = TreeModel(Checkpoint(checkpoint.path).load_model())
    deployment = GenerativeDeployment(
        "1", model, catalog, 4, SearchSettings(beams=4, normalisation="trie", prefix_tokens=100)
    )
    [before] = deployment.rank([Query((1, 2), 24)]) or []
    deployment.edited(CatalogEdits({"lost": "Port"}))  # a change that is not put in place after all
    deployment.snapshot = deployment.edited(CatalogEdits({"twin": catalog.titles[4], "blank": " "}))
    assert [item for item, _ in deployment.snapshot.skipped] == ["blank"]
    grown = deployment.snapshot.catalog
    mean = title_mean(model.base, catalog, catalog.titles[4])
    torch.testing.assert_close(row(model.base, grown, "twin"), mean)
    [after] = deployment.rank([Query((1, 2), 25)]) or []
    assert [item for item in after.items if item != 24] == before.items
    [named] = deployment.rank([Query((1, 24), 25)]) or []  # its token can be in a history, too
    assert len(named.items) == 25


def test_going_on_with_a_champion_keeps_its_rows(
    world_windows: Windows, world_items: pd.DataFrame, catalog: CatalogIndex, tmp_path: Path
) -> None:
    champion = train_sft(world_windows, catalog, TINY, QUICK, tmp_path / "first", log=lambda *_: None)
    grown = continue_index(catalog, pd.concat([world_items, frame(new="Moon Port 77")], ignore_index=True))
    base = QUICK.model_copy(update={"epochs": 0})
    model = train_sft(
        world_windows, grown, TINY, base, tmp_path / "on", log=lambda *_: None, start=champion
    ).load_model()
    old = embedding(champion.load_model())
    torch.testing.assert_close(embedding(model)[: len(old)], old)
    torch.testing.assert_close(row(model, grown, "new"), title_mean(model, grown, "Moon Port 77"))
