"""SASRec learns a rule, hides the future, repeats itself, and comes back from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rere.errors import RereError
from rere.recommenders.item_model import FitData
from rere.recommenders.sequential.networks import cut_rows
from rere.recommenders.sequential.sasrec import SASRec, SASRecConfig, SASRecNetwork

ITEMS = 12
SMALL = SASRecConfig(
    layers=1, width=16, heads=2, feed_forward=32, dropout=0.0, history_items=4, epochs=12, learning_rate=3e-2,
    batch_rows=16,
)  # fmt: skip


def circle(start: int, length: int) -> np.ndarray:
    return (start + np.arange(length)) % ITEMS


SEQUENCES = [circle(start, 9) for start in range(ITEMS)] * 4
VALID = ([circle(start, 3).tolist() for start in range(ITEMS)], [(start + 3) % ITEMS for start in range(ITEMS)])


@pytest.fixture(scope="module")
def fitted() -> SASRec:
    return SASRec.fit(FitData(SEQUENCES, ITEMS, *VALID), SMALL)


def test_it_learns_that_the_next_item_follows(fitted: SASRec) -> None:
    ranking = fitted.recommend([[7], [10, 11], [0, 1, 2, 3, 4, 5]], 1)
    assert ranking.items[:, 0].tolist() == [8, 0, 6]
    assert ranking.scores[:, 0].min() > np.log(0.5)
    assert fitted.curves[-1]["train_loss"] < fitted.curves[0]["train_loss"] / 2


def test_scores_are_log_probabilities(fitted: SASRec) -> None:
    assert np.exp(fitted.recommend([[3]], ITEMS).scores.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_the_same_seed_gives_the_same_model_and_leaves_the_random_state_alone(fitted: SASRec) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = SASRec.fit(FitData(SEQUENCES, ITEMS, *VALID), SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert again.curves == fitted.curves
    other = SASRec.fit(FitData(SEQUENCES, ITEMS, *VALID), SMALL.model_copy(update={"seed": 1}))
    assert other.curves != fitted.curves


def test_a_state_depends_on_no_later_item() -> None:
    torch.manual_seed(0)
    network = SASRecNetwork(ITEMS, SMALL).eval()
    states = network(torch.tensor([[1, 2, 3, 4], [1, 2, ITEMS, ITEMS]]))  # the second is padded
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2], states[1, 2])


def test_cuts_make_every_item_but_the_first_a_target_once() -> None:
    sequences = [np.arange(11), np.arange(100, 102), np.arange(200, 205)]
    starts = set()
    for epoch in range(6):
        rows = cut_rows(sequences, SMALL, epoch)
        assert max(map(len, rows)) <= SMALL.history_items + 1
        targets = sorted(item for row in rows for item in row[1:].tolist())
        assert targets == [*range(1, 11), 101, *range(201, 205)]
        starts |= {int(row[0]) for row in rows}
    assert len(starts) > 6  # epochs cut at different places


def test_early_stopping_keeps_the_best_epoch() -> None:
    rising = SMALL.model_copy(update={"epochs": 40, "patience": 2})
    model = SASRec.fit(FitData(SEQUENCES, ITEMS, *VALID), rising)
    scores = [record["valid_ndcg@10"] for record in model.curves]
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + 2 < 40
    ranking = model.recommend(VALID[0], 10)
    assert (ranking.items[:, 0] == np.array(VALID[1])).mean() == 1.0


def test_saved_and_loaded_it_ranks_the_same(fitted: SASRec, tmp_path: Path) -> None:
    fitted.save(tmp_path / "sasrec")
    loaded = SASRec.load(tmp_path / "sasrec")
    ours, theirs = fitted.recommend(VALID[0], 5), loaded.recommend(VALID[0], 5)
    assert np.array_equal(ours.items, theirs.items)
    assert np.array_equal(ours.scores, theirs.scores)
    assert (loaded.curves, loaded.config) == (fitted.curves, fitted.config)
    assert {path.suffix for path in (tmp_path / "sasrec").iterdir()} == {".json", ".safetensors"}


def test_an_altered_model_is_refused(fitted: SASRec, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    (tmp_path / "sasrec.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RereError, match="altered"):
        SASRec.load(tmp_path)


@pytest.mark.parametrize(("sequences", "targets"), [([np.array([1])], [2]), ([np.array([1, 2])], [])])
def test_too_little_data_is_a_clear_error(sequences: list[np.ndarray], targets: list[int]) -> None:
    with pytest.raises(RereError, match="at least two items"):
        SASRec.fit(FitData(sequences, ITEMS, [[1]] * len(targets), targets), SMALL)
