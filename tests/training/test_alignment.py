"""Rows that teach a pretrained model what codes of new tokens mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rere.catalog.codes.item import ItemTokenCode
from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.config.sft import Alignment, Distillation, SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.trunks import HEAD
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels
from rere.recommenders.popularity import Popularity
from rere.training.rows import ALIGNED, IGNORED, Collator, sequence_rows
from rere.training.sft.alignment import AlignedLoss, alignment_rows
from rere.training.sft.catalogue_loss import NOWHERE, CatalogueCollator, CatalogueLoss
from rere.training.sft.inputs import datasets_of
from rere.training.sft.teacher import Teacher
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.training.test_check import saved

CODE = SemanticCode(levels=2, codewords=8, embedding=TitleEmbedding(dimensions=8))
PLAIN = SFTConfig(
    distillation=None, normalisation="vocab", epochs=6, learning_rate=1e-2, batch_tokens=64, sequence_items=8
)
BOTH = Alignment()


@pytest.fixture(scope="module")
def catalog(world_items: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> CatalogIndex:
    """Semantic IDs for a tiny pretrained model whose tokenizer has a token for each letter."""
    backbone = LocalModel(path=saved(tmp_path_factory.mktemp("pretrained"), "llama"))
    return build_index(world_items, IndexConfig(backbone=backbone, code=CODE))


def spelt(catalog: CatalogIndex, tokens: list[int]) -> str:
    return str(catalog.tokenizer.decode(tokens)).replace(" ", "").replace("Ġ", "")


def labels_of(row: dict[str, Any]) -> list[int]:
    return [label for label in row["labels"] if label != IGNORED]


def test_each_item_is_asked_for_by_its_title_and_by_its_code(catalog: CatalogIndex) -> None:
    rows = list(alignment_rows(catalog, Alignment(title_to_code=2.0, code_to_title=0.5)))
    assert len(rows) == 2 * len(catalog.items)
    end = catalog.tokenizer.eos_token_id
    for item, (to_code, to_title) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        code, title = catalog.item_tokens[item], catalog.titles[item].replace(" ", "")
        assert labels_of(to_code) == code
        assert spelt(catalog, to_code["input_ids"][: -len(code)]) == f"Title{title}Code"  # the tokenizer has no colon
        assert labels_of(to_title)[-1] == end
        assert spelt(catalog, labels_of(to_title)[:-1]) == title
        before = to_title["input_ids"][: -len(labels_of(to_title))]
        assert spelt(catalog, before) == spelt(catalog, catalog.tokenizer.encode("Code") + code) + "Title"
        for row, weight in ((to_code, 2.0), (to_title, 0.5)):
            assert row[ALIGNED] == weight
            assert row["input_ids"][-len(labels_of(row)) :] == labels_of(row)
            assert len(row["input_ids"]) == len(row["labels"]) == len(row["owner"])
            assert set(row["owner"]) == {HEAD}  # each token sees all before it


def test_a_task_of_no_weight_has_no_rows(catalog: CatalogIndex) -> None:
    rows = list(alignment_rows(catalog, Alignment(code_to_title=0)))
    assert [labels_of(row) for row in rows] == catalog.item_tokens
    with pytest.raises(ValidationError, match="weight above 0"):
        Alignment(title_to_code=0, code_to_title=0)


def test_an_item_is_asked_for_by_all_that_is_known_of_it(world_items: pd.DataFrame, catalog: CatalogIndex) -> None:
    told = world_items.assign(maker=pd.Series(["Abc" if n % 2 else None for n in range(len(world_items))]))
    config = catalog.config.model_copy(update={"text_columns": ("maker",)})
    known = build_index(told, config)
    rows = list(alignment_rows(known, Alignment(title_to_code=0, code_to_title=0, text_to_code=0.5)))
    assert [labels_of(row) for row in rows] == known.item_tokens
    before = [spelt(known, row["input_ids"][: -len(labels_of(row))]) for row in rows[:2]]
    assert before == ["DescriptionMoonPort0Code", "DescriptionStarTrip1makerAbcCode"]  # the tokenizer knows no ; and :
    with pytest.raises(RereError, match="text_to_code"):
        list(alignment_rows(catalog, Alignment(text_to_code=0.5)))


@pytest.mark.parametrize("code", [TitleCode(), ItemTokenCode()])
def test_codes_that_are_made_of_titles_need_none(
    world_items: pd.DataFrame, catalog: CatalogIndex, code: TitleCode | ItemTokenCode
) -> None:
    made = build_index(world_items, IndexConfig(backbone=catalog.config.backbone, code=code))
    with pytest.raises(RereError, match="codes of new tokens"):
        list(alignment_rows(made, BOTH))


def test_a_scratch_model_has_read_no_title(world_items: pd.DataFrame) -> None:
    with pytest.raises(RereError, match=r"a pretrained backbone.*type: scratch"):
        list(alignment_rows(build_index(world_items, IndexConfig(backbone=TINY, code=CODE)), BOTH))


@pytest.mark.parametrize("rows", ["window", "sequence"])
def test_training_has_them_beside_its_own_rows_and_validation_none(
    world_windows: Windows, catalog: CatalogIndex, rows: str
) -> None:
    config = PLAIN.model_copy(update={"rows": rows})
    train, valid = datasets_of(world_windows, catalog, config)
    more, same = datasets_of(world_windows, catalog, config.model_copy(update={"alignment": BOTH}))
    assert ALIGNED not in train.column_names
    assert same.to_list() == valid.to_list()
    assert [row[ALIGNED] for row in more] == [0.0] * len(train) + [1.0] * (2 * len(catalog.items))
    assert more.select(range(len(train))).remove_columns(ALIGNED).to_list() == train.to_list()


def mixed(windows: Windows, catalog: CatalogIndex, **more: float) -> list[dict[str, Any]]:
    """Two rows of next items, then three of alignment with weight .5."""
    own = list(sequence_rows(windows.of("train")[:14], catalog, 4, 8))[:2]
    asked = list(alignment_rows(catalog, Alignment(title_to_code=0.5, code_to_title=0.5)))[:3]
    return [{**row, ALIGNED: 0.0, **more} for row in own] + [{**row, **dict.fromkeys(more, 0.0)} for row in asked]


def cross_entropy(head: nn.Linear, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B,) sums over each row's labels."""
    losses = nn.functional.cross_entropy(
        head(hidden[:, :-1]).transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1)


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_the_loss_is_that_of_next_items_and_the_weighted_one_of_the_rest(
    world_windows: Windows, catalog: CatalogIndex, normalisation: str
) -> None:
    rows, generator = mixed(world_windows, catalog), torch.Generator().manual_seed(0)
    batch = CatalogueCollator(0, 4, catalog)(rows)
    hidden = torch.randn((*batch["labels"].shape, 8), generator=generator, dtype=torch.float64)
    head = nn.Linear(8, catalog.vocabulary, bias=False, dtype=torch.float64)
    every = cross_entropy(head, hidden, batch["labels"])
    assert (batch["node"][2:] == NOWHERE).all()
    if normalisation == "vocab":
        loss, own = AlignedLoss(None), every[:2].sum()
        found = loss(head, hidden, labels=batch["labels"], aligned=batch[ALIGNED])
    else:
        items = CatalogueLoss(catalog.trie)
        loss, alone = AlignedLoss(items), CatalogueCollator(0, 4, catalog)(rows[:2])
        size = alone["labels"].shape[1]
        own = items(head, hidden[:2, :size], labels=alone["labels"], node=alone["node"])
        found = loss(head, hidden, labels=batch["labels"], node=batch["node"], aligned=batch[ALIGNED])
    torch.testing.assert_close(found, own + 0.5 * every[2:].sum(), check_dtype=False)


def test_without_rows_of_alignment_it_is_the_loss_of_next_items(world_windows: Windows, catalog: CatalogIndex) -> None:
    rows = list(sequence_rows(world_windows.of("valid")[:4], catalog, 4, 8))
    batch, generator = CatalogueCollator(0, 4, catalog)(rows), torch.Generator().manual_seed(0)
    hidden, head = torch.randn((*batch["labels"].shape, 8), generator=generator), nn.Linear(8, catalog.vocabulary)
    items = CatalogueLoss(catalog.trie)
    given = {"labels": batch["labels"], "node": batch["node"]}
    assert AlignedLoss(items)(head, hidden, **given) == items(head, hidden, **given)
    plain = AlignedLoss(None)(head, hidden, labels=batch["labels"])
    torch.testing.assert_close(plain, cross_entropy(head, hidden, batch["labels"]).sum())
    empty = Collator(0, 4)([])  # a process without rows takes part all the same
    assert AlignedLoss(None)(head, torch.ones(1, 1, 8), labels=empty["labels"]) == 0


def test_a_teacher_is_asked_for_next_items_alone(world_windows: Windows, catalog: CatalogIndex) -> None:
    teacher = Teacher(Popularity.fit([np.arange(24)], 24), 24)
    rows = mixed(world_windows, catalog, taught=1.0)
    batch = CatalogueCollator(0, 4, catalog, teacher)(rows)
    targets = sum(len(row["items"]) - row["untrained"] for row in rows[:2])
    assert batch["log_probs"].shape == (targets, 24)
    assert (batch["target"][2:] == NOWHERE).all()
    assert "log_probs" not in CatalogueCollator(0, 4, catalog, teacher)(rows[2:])  # nothing to ask


def code_log_prob(checkpoint_path: Path, catalog: CatalogIndex) -> float:
    """The mean log-probability of an item's code after its title (nats)."""
    model = Checkpoint(checkpoint_path).load_model().cpu().eval()
    losses = []
    for row in alignment_rows(catalog, Alignment(code_to_title=0)):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        losses.append(nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum"))
    return -float(torch.stack(losses).mean())


def test_an_aligned_model_names_an_items_code_by_its_title(
    world_windows: Windows, catalog: CatalogIndex, tmp_path: Path
) -> None:
    found = {}
    for name, alignment in {"plain": None, "aligned": Alignment(title_to_code=2.0)}.items():
        config = PLAIN.model_copy(update={"alignment": alignment})
        backbone = catalog.config.backbone
        checkpoint = train_sft(world_windows, catalog, backbone, config, tmp_path / name, log=lambda *_: None)
        found[name] = code_log_prob(checkpoint.path, catalog)
    assert found["aligned"] > found["plain"] + 1  # nats


def test_alignment_goes_with_distillation(world_windows: Windows, catalog: CatalogIndex, tmp_path: Path) -> None:
    config = SFTConfig(
        distillation=Distillation(altered_rows=0.5), alignment=BOTH, epochs=1, batch_tokens=64, sequence_items=8
    )
    known = FitData([np.arange(24)], 24, [[0]], [1])
    teacher = ItemModels({"co_occurrence": CoOccurrence.fit(known, CoOccurrenceConfig())})
    backbone = catalog.config.backbone
    checkpoint = train_sft(world_windows, catalog, backbone, config, tmp_path, log=lambda *_: None, teacher=teacher)
    assert checkpoint.curves()


def test_shards_have_no_whole_head_for_it() -> None:
    with pytest.raises(ValidationError, match="alignment goes with sharding: none"):
        SFTConfig(distillation=None, normalisation="vocab", alignment=BOTH, sharding="fsdp")
