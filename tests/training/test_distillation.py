"""The loss over the catalogue, the teacher in it, and the histories that only a teacher can label."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rere.catalog.codes.item import ItemTokenCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig
from rere.config.sft import Distillation, LabelsAfter, SFTConfig
from rere.data.dataset import Dataset, Windows
from rere.data.sequences import training_sequences
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.heads import Head
from rere.recommenders.base import Ranking
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels
from rere.recommenders.sequential.gru4rec import GRU4Rec, GRU4RecConfig
from rere.runtime.launchers.local import LocalLauncher
from rere.training.rows import IGNORED, sequence_row
from rere.training.sft.altered import NewItems, altered_rows, disturbed, left_out, mixed
from rere.training.sft.catalogue_loss import NOWHERE, CatalogueCollator, CatalogueLoss
from rere.training.sft.teacher import Teacher
from rere.training.sft.train import train_sft
from tests.conftest import TINY, a_gpu_each
from tests.training.test_check import saved

QUICK = SFTConfig(
    distillation=None, epochs=3, learning_rate=1e-2, batch_tokens=64, sequence_items=8, normalisation="trie"
)
ITEMS = pd.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["Star Trip", "Star Port", "Moon Trip", "Moon Port"]})


class Fixed:
    """A teacher that always says the same; `asked` are the histories."""

    name = "fixed"

    def __init__(self, probabilities: list[float]) -> None:
        self.scores = np.log(np.array(probabilities, dtype=np.float32))
        self.asked: list[list[int]] = []

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        self.asked += [list(history) for history in histories]
        order = np.argsort(-self.scores)[:k]
        return Ranking(np.tile(order, (len(histories), 1)), np.tile(self.scores[order], (len(histories), 1)))


@pytest.fixture(params=["item", "title", "prefix"])
def small(request: pytest.FixtureRequest) -> CatalogIndex:
    return build_index(ITEMS, IndexConfig.model_validate({"backbone": TINY, "code": request.param}))


def catalogue_log_probs(
    catalog: CatalogIndex, head: Head, states: list[torch.Tensor], way: list[int]
) -> dict[int, float]:
    """log p of every child along an item's way, by plain loops: {node: log-probability}."""
    trie = catalog.trie
    found: dict[int, float] = {}
    for state, node in zip(states, [0, *way[:-1]], strict=True):
        first, count = int(trie.first_child[node]), int(trie.child_count[node])
        children = list(range(first, first + count))
        logits = head(state)[[int(trie.token[child]) for child in children]]
        found |= dict(zip(children, (logits - logits.logsumexp(0)).tolist(), strict=True))
    return found


def softmax(logits: torch.Tensor) -> list[float]:
    return [math.exp(logit) / sum(map(math.exp, logits.tolist())) for logit in logits.tolist()]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("taught", [0.0, 0.25, 1.0])
def test_the_loss_is_the_formula_written_out(small: CatalogIndex, taught: float, temperature: float) -> None:
    teacher = Fixed([0.1, 0.2, 0.3, 0.4])
    said = softmax(torch.tensor(teacher.scores).log_softmax(0).half())  # as an answer is kept
    row = {**sequence_row([0, 3, 1], 1, small), "taught": taught}
    batch = CatalogueCollator(0, 10, small, Teacher(teacher, 4))([row])
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn((1, batch["labels"].shape[1], 8), generator=generator)
    head = nn.Linear(8, small.vocabulary, bias=False)
    lesson = {name: batch[name] for name in ("labels", "node", "target", "taught", "log_probs")}
    found = CatalogueLoss(small.trie, temperature)(head, hidden, **lesson)

    trie, wanted = small.trie, 0.0
    mass = [0.0] * trie.nodes
    for item, probability in enumerate(said):
        node = int(trie.item_leaf[item])
        while node >= 0:
            mass[node] += probability
            node = int(trie.parent[node])
    for item in (3, 1):
        low, high = trie.item_offsets[item : item + 2].tolist()
        way = trie.item_nodes[low:high].tolist()
        begin = row["owner"].index({3: 1, 1: 2}[item])
        states = [hidden[0, begin - 1 + step] for step in range(len(way))]
        log_probs = catalogue_log_probs(small, head, states, way)
        wanted -= (1 - taught) * sum(log_probs[node] for node in way)
        for node in [0, *way[:-1]]:
            children = [child for child in log_probs if int(trie.parent[child]) == node]
            theirs = [mass[child] ** (1 / temperature) for child in children]
            ours = [math.exp(log_probs[child]) ** (1 / temperature) for child in children]
            for their, our in zip(theirs, ours, strict=True):
                wanted -= taught * their / sum(theirs) * math.log(our / sum(ours))
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)
    assert teacher.asked == [[0], [0, 3]]


@pytest.mark.parametrize("sequences", [False, True])
def test_what_a_batch_holds_can_be_pinned_for_a_gpu(small: CatalogIndex, sequences: bool) -> None:
    """Pinning writes every element: none may share its memory with another."""
    row = {**sequence_row([0, 3, 1], 1, small), "taught": 0.5}
    if not sequences:
        del row["owner"]
    batch = CatalogueCollator(0, 10, small, Teacher(Fixed([0.1, 0.2, 0.3, 0.4]), 4))([row, row])
    assert {"input_ids", "attention_mask", "log_probs"} <= set(batch)
    assert ("position_ids" in batch) == sequences
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in batch.values())


def test_where_nothing_is_taught_no_teacher_is_asked(small: CatalogIndex) -> None:
    teacher = Fixed([0.25] * 4)
    batch = CatalogueCollator(0, 10, small, Teacher(teacher, 4))([sequence_row([0, 3], 1, small)])
    assert set(batch) == {"input_ids", "labels", "attention_mask", "position_ids", "node"}
    assert ((batch["node"] == NOWHERE) == (batch["labels"] == IGNORED)).all()
    assert teacher.asked == []


def test_a_teacher_sees_the_last_items_and_is_asked_once_while_memory_lasts(small: CatalogIndex) -> None:
    rows = [{**sequence_row([0, 1, 2, 3], 2, small), "taught": 1.0}]
    for memory, asked in ((100, [[0, 1], [1, 2]]), (16, [[0, 1], [1, 2], [1, 2]]), (0, 2 * [[0, 1], [1, 2]])):
        teacher = Fixed([0.1, 0.2, 0.3, 0.4])
        collate = CatalogueCollator(0, 2, small, Teacher(teacher, 4, memory=memory))
        first, second = collate(rows)["log_probs"], collate(rows)["log_probs"]
        assert teacher.asked == asked
        assert torch.equal(first, second)  # remembered or not
        torch.testing.assert_close(first.exp(), torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(2, 4), atol=0, rtol=1e-3)


def test_what_follows_the_most_probable_items_shares_their_rest_evenly() -> None:
    told = Teacher(Fixed([0.1, 0.4, 0.2, 0.3]), 4, top=2).log_probs([[0], [1, 2]])
    torch.testing.assert_close(told.exp(), torch.tensor([0.15, 0.4, 0.15, 0.3]).expand(2, 4), atol=0, rtol=1e-3)


def test_altered_rows_are_made_of_what_there_is() -> None:
    sequences = [list(range(10, 30)), [1, 2], list(range(40, 44))]
    sizes = {"rows": 200, "items": 8}
    none = NewItems(np.array([5]), share=0.0)
    made = altered_rows(sequences, **sizes, new=none, seed=0)
    assert len(made) == 200
    assert (
        made == altered_rows(sequences, **sizes, new=none, seed=0) != altered_rows(sequences, **sizes, new=none, seed=1)
    )
    assert {item for row in made for item in row} == {*range(10, 30), *range(40, 44)}  # of two items nothing is made
    lengths = {len(row) for row in made}
    assert (min(lengths), max(lengths)) == (3, 8)
    assert sum(row != list(range(row[0], row[0] + len(row))) for row in made) > 150
    assert altered_rows([[1, 2]], **sizes, new=none, seed=0) == []


def test_new_items_take_the_place_of_others_as_often_as_validation_rows_want_them() -> None:
    sequences = [[0, 1, 2, 3], [3, 2, 1, 0]]
    new = NewItems.of([0, 1, 2, 3, 3, 2, 1, 0], [0, 5, 1, 2], 6)
    assert new.items.tolist() == [4, 5]
    assert new.share == 0.25
    rows = altered_rows(sequences, rows=500, items=4, new=new, seed=0)
    found = [item for row in rows for item in row]
    assert 0.2 < sum(item in {4, 5} for item in found) / len(found) < 0.3
    assert {4, 5} <= set(found)
    none = NewItems.of([0, 1, 2, 3, 4, 5], [0, 5], 6)
    assert (none.items.tolist(), none.share) == ([], 0.0)


def test_each_way_alters_as_it_says() -> None:
    random, first, second = np.random.default_rng(0), np.arange(20), np.arange(100, 110)
    kept = left_out(first, second, random)
    assert 0 < len(kept) < 20
    assert (np.diff(kept) > 0).all()
    moved = disturbed(first, second, random)
    assert sorted(moved) == first.tolist() != moved.tolist()
    both = mixed(first, second, random)
    assert [item for item in both if item < 100] == first.tolist()
    assert [item for item in both if item >= 100] == second.tolist()
    assert both.tolist() != [*first, *second]


@pytest.fixture(scope="module")
def teacher(world_dataset: Dataset, world_windows: Windows, world_catalog: CatalogIndex) -> ItemModels:
    valid, index = world_windows.of("valid"), world_catalog.index_of
    histories = [[index[item] for item in history] for history in valid["history"]]
    targets = [index[item] for item in valid["target"]]
    config = GRU4RecConfig(width=16, epochs=15, learning_rate=3e-2, history_items=4)
    return ItemModels(
        {"gru4rec": GRU4Rec.fit(FitData(training_sequences(world_dataset), 24, histories, targets), config)}
    )


@pytest.mark.parametrize("code", ["item", "prefix"])
def test_a_pupil_learns_from_the_teacher_alone(
    world_windows: Windows, world_items: pd.DataFrame, teacher: ItemModels, tmp_path: Path, code: str
) -> None:
    catalog = build_index(world_items, IndexConfig.model_validate({"backbone": TINY, "code": code}))
    config = QUICK.model_copy(update={"epochs": 12, "distillation": Distillation(weight=1.0, altered_rows=0.5)})
    checkpoint = train_sft(world_windows, catalog, TINY, config, tmp_path, log=lambda *_: None, teacher=teacher)
    test = world_windows.of("test")
    histories = [[catalog.index_of[item] for item in history] for history in test["history"]]
    targets = [catalog.index_of[item] for item in test["target"]]
    found = GenerativeRecommender("pupil", checkpoint.path, catalog, normalisation="trie").recommend(histories, 2)
    hits = sum(target in row for target, row in zip(targets, found.items.tolist(), strict=True))
    assert hits > 30  # of 60; chance makes 5


def test_labels_after_the_teacher_are_a_fine_tuning_of_their_own(
    world_windows: Windows, world_items: pd.DataFrame, teacher: ItemModels, tmp_path: Path
) -> None:
    catalog = build_index(world_items, IndexConfig(backbone=TINY))
    taught = QUICK.model_copy(update={"distillation": Distillation(altered_rows=0.5)})
    after = LabelsAfter(epochs=2, learning_rate=2e-3)
    both = QUICK.model_copy(update={"distillation": Distillation(altered_rows=0.5, labels_after=after)})
    labels = QUICK.model_copy(update={"epochs": 2, "learning_rate": 2e-3})
    told: list[int] = []

    def train(config: SFTConfig, work: str, **options: Any) -> Checkpoint:
        return train_sft(
            world_windows, catalog, TINY, config, tmp_path / work, log=lambda _, update: told.append(update), **options
        )

    first = train(taught, "taught", teacher=teacher)
    second = train(labels, "labels", start=first)
    told.clear()
    found = train(both, "both", teacher=teacher)
    assert found.sums()["model.safetensors"] == second.sums()["model.safetensors"]
    assert found.facts()["parent"] == first.identity()
    assert told == sorted(told)
    assert told[-1] == first.facts()["updates"] + second.facts()["updates"]
    # Killed between the two, it goes on with the labels.
    shutil.rmtree(tmp_path / "both" / "model")
    told.clear()
    again = train(both, "both", teacher=teacher)
    assert again.sums()["model.safetensors"] == second.sums()["model.safetensors"]
    assert min(told) > first.facts()["updates"]


@a_gpu_each
def test_two_processes_learn_what_one_learns(
    world_windows: Windows, world_catalog: CatalogIndex, teacher: ItemModels, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"epochs": 1, "distillation": Distillation(), "device_batch_rows": 4})
    weights = []
    for processes in (1, 2):
        own = config.model_copy(update={"launcher": LocalLauncher(processes=processes)})
        directory = tmp_path / str(processes)
        checkpoint = train_sft(world_windows, world_catalog, TINY, own, directory, log=lambda *_: None, teacher=teacher)
        weights.append(checkpoint.load_model().state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-4, rtol=1e-3)


def test_the_validation_loss_is_over_the_catalogue(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    """An untrained model guesses: among the catalogue's items, not among the vocabulary's tokens."""
    config = QUICK.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    checkpoint = train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    [loss] = [record["valid_loss"] for record in checkpoint.curves() if "valid_loss" in record]
    assert loss < math.log(24) < 0.8 * math.log(world_catalog.vocabulary)  # per token; what is certain costs nothing


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "granite", "opt"])
def test_other_architectures_give_their_states_without_their_logits(
    world_windows: Windows, world_items: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    backbone = LocalModel(path=saved(tmp_path / "backbone", name))
    catalog = build_index(world_items, IndexConfig(backbone=backbone, code=ItemTokenCode()))
    config = QUICK.model_copy(update={"epochs": 1})
    checkpoint = train_sft(world_windows, catalog, backbone, config, tmp_path / "work", log=lambda *_: None)
    valid = world_windows.of("valid")
    histories = [[catalog.index_of[item] for item in history] for history in valid["history"]]
    found = GenerativeRecommender("model", checkpoint.path, catalog, normalisation="trie").recommend(histories, 24)
    of_target = found.items == np.array([[catalog.index_of[item]] for item in valid["target"]])
    [loss] = [record["valid_loss"] for record in checkpoint.curves() if "valid_loss" in record]
    assert loss == pytest.approx(-float(found.scores[of_target].mean()), rel=1e-4)


def test_distillation_needs_its_teacher_and_its_settings(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"distillation": Distillation()})
    with pytest.raises(RereError, match="an item model for distillation"):
        train_sft(world_windows, world_catalog, TINY, config, tmp_path, log=lambda *_: None)
    for wrong in ({"rows": "window", "normalisation": "trie"}, {"normalisation": "vocab"}):
        with pytest.raises(ValueError, match="distillation goes with"):
            SFTConfig.model_validate({"distillation": {}, **wrong})
