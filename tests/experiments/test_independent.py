"""The comparison with RecBole, up to RecBole itself: the rows that it gets, its ranks, and what is made of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.by_recbole import ndcg, ranks
from experiments.cells import EVALUATION
from experiments.independent import RecBole, compare, our_ranks, write_rows
from experiments.worlds import ExperimentData
from rere.errors import RereError
from rere.evaluation.evaluator import evaluate
from rere.evaluation.metrics import ndcg as our_ndcg
from rere.recommenders.ease import EASE, EASEConfig
from rere.recommenders.item_model import FitData

HITS = [1.0, 1 / np.log2(3), 0.0]  # NDCG of ranks 1, 2 and none
# Stands in for RecBole's interpreter: answers with the row numbers as ranks, and counts its calls.
STAND_IN = f"""#!{sys.executable}
import json, sys
from pathlib import Path
import pandas as pd
rows, name, seed, out, others = sys.argv[-5:]
calls = Path(rows).parent / "calls"
calls.write_text(calls.read_text() + name if calls.exists() else name)
if name == "Caser":
    sys.exit(3)
test = pd.read_csv(Path(rows) / "rows.test.inter", sep="\\t")
found = pd.DataFrame({{"row_id": test["row_id:token"], "rank": range(len(test)), "rank_of_others": 1}})
found.to_parquet(out + ".parquet")
Path(out + ".json").write_text(json.dumps({{"score": 0.5, "curve": [0.5], "seed": seed, "others": json.loads(others)}}))
"""


def judged(found: list[int], rows: list[int]) -> pd.DataFrame:
    users = [f"u{row}" for row in rows]
    return pd.DataFrame({"row_id": rows, "rank": found, "rank_of_others": 1, "user_id": users})


def test_recbole_gets_exactly_our_rows(world: ExperimentData, tmp_path: Path) -> None:
    write_rows(world, tmp_path / "rows")
    histories, targets = world.selection_rows()
    for period, expected in (
        ("train", world.rows("train")),
        ("valid", (histories, targets)),  # half of the users: the other half is for reports
        ("test", world.rows("test")),
    ):
        table = pd.read_csv(tmp_path / "rows" / f"rows.{period}.inter", sep="\t", dtype=str)
        found = [[int(item) for item in history.split()] for history in table["item_id_list:token_seq"]]
        assert found == expected[0]
        assert table["item_id:token"].astype(int).tolist() == list(expected[1])
    test = world.windows.of("test")
    assert table["row_id:token"].astype(int).tolist() == test["row_id"].tolist()
    assert table["user_id:token"].tolist() == test["user_id"].tolist()
    items = pd.read_csv(tmp_path / "rows" / "rows.item", sep="\t")["item_id:token"]
    assert items.tolist() == list(range(len(world.item_index)))


def test_ranks_are_from_one_with_equal_scores_by_index_and_without_the_history_on_request() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.5, 0.9, 0.5, 0.1], [-np.inf, 1.0, 1.0, 1.0], [0.0, 3.0, 2.0, 1.0]])
    found = ranks(scores, np.array([0, 2, 0, 2]), np.array([[1, 1], [1, 3], [1, 1], [2, 2]]))
    assert found["rank"].tolist() == [2, 3, 0, 2]
    assert found["rank_of_others"].tolist() == [1, 2, 0, 0]  # the last target stands in its history
    given = np.array([1, 2, 0, 10, 11])
    assert ndcg(given) == pytest.approx(our_ndcg(given, 10).mean())


def test_our_ranks_are_those_of_the_evaluation_and_of_lists_without_the_history(world: ExperimentData) -> None:
    histories, targets = world.rows("test")
    data = FitData(world.sequences, len(world.item_index), *world.selection_rows())
    model = EASE.fit(data, EASEConfig())
    found = our_ranks(model, world)
    evaluated = evaluate(model, world.windows.of("test"), world.item_index, EVALUATION).sort_values("row_id")
    assert found["row_id"].tolist() == evaluated["row_id"].tolist()
    listed = np.where(found["rank"] <= EVALUATION.beams, found["rank"], 0)
    assert listed.tolist() == evaluated["rank"].tolist()
    for row, (history, ranking) in enumerate(
        zip(histories, model.recommend(histories, model.items).items, strict=True)
    ):
        others = [item for item in ranking.tolist() if item not in history]
        expected = others.index(targets[row]) + 1 if targets[row] in others else 0
        assert found["rank_of_others"][row] == expected


def test_the_difference_is_ours_less_theirs_by_row() -> None:
    ours = [judged([1, 2, 0], [5, 6, 7]), judged([2, 2, 0], [5, 6, 7])]
    ranked = {"rank": [0, 2, 2], "rank_of_others": [2, 2, 2]}
    record = compare(ours, [pd.DataFrame({"row_id": [7, 6, 5], **ranked})])  # in another order
    mine = np.mean([HITS[0], HITS[1], HITS[1], HITS[1], HITS[2], HITS[2]])
    assert record["ours"] == pytest.approx(mine)
    assert record["theirs"] == pytest.approx(2 * HITS[1] / 3)
    assert record["difference"] == pytest.approx(mine - 2 * HITS[1] / 3)
    assert record["difference without history"] == pytest.approx(1 - HITS[1])
    assert record["difference low"] <= record["difference"] <= record["difference high"]
    assert record["hr@10 ours"] == pytest.approx(2 / 3)
    with pytest.raises(RereError, match="3 test rows"):
        compare(ours, [pd.DataFrame({"row_id": [7, 6, 4], **ranked})])


def test_what_recbole_finished_is_not_run_again_and_a_failure_says_so(world: ExperimentData, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(STAND_IN, encoding="utf-8")
    python.chmod(0o755)
    for _ in range(2):
        library = RecBole(world, tmp_path, python)
        found, facts = library.results("gru4rec", 3, {})
        assert found["row_id"].tolist() == world.windows.of("test")["row_id"].tolist()
        assert facts == {"score": 0.5, "curve": [0.5], "seed": "3", "others": {}}
        _, facts = library.results("gru4rec", 3, {"dropout_prob": 0.1})  # another network: it has its own results
        assert facts["others"] == {"dropout_prob": 0.1}
    assert (library.work / "calls").read_text() == "GRU4Rec" * 2
    with pytest.raises(RereError, match=r"Caser.*recbole\.txt"):
        library.results("caser", 3, {})
