"""Segments of users and items, on a table small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig
from rere.evaluation.breakdown import COLD, FEW, sparse_rows
from rere.evaluation.evaluator import summarise
from rere.evaluation.footprint import latencies_ms, mebibytes
from rere.evaluation.segments import segment_gains, segments

CONFIG = GateConfig(metric="hr@1", new_user_interactions=2, cold_item_interactions=0, heavy_user_share=0.25)
HISTORIES = [["x"], ["x", "y"], ["x", "y", "x"], ["y"] * 9]
ROWS = pd.DataFrame(
    {"row_id": [5, 6, 7, 8], "user_id": list("abcd"), "history": HISTORIES, "target": ["x", "y", "x", "new"]}
)
USERS, ITEMS = {"a": 1, "b": 2, "c": 9}, {"x": 3, "y": 1}


def test_a_row_is_where_its_user_and_its_target_put_it() -> None:
    marked = segments(ROWS, USERS, ITEMS, CONFIG)
    assert marked.index.tolist() == [5, 6, 7, 8]
    assert [str(name).split(" (")[0] for name in marked] == [FEW, "new users", "heavy users", "cold items"]
    assert marked.to_numpy().tolist() == [  # user d has no training interaction, item "new" neither
        [True, True, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, True, False, True],
    ]


def test_rows_of_which_little_is_known_get_figures_of_their_own() -> None:
    assert sparse_rows(ROWS, ITEMS) == {FEW: frozenset({5, 6}), COLD: frozenset({8})}
    results = ROWS.assign(
        model="m",
        target=[0, 1, 0, 2],
        warm=True,
        rank=[1, 0, 2, 1],
        items=pd.Series([[0]] * 4, dtype=object),
        invalid=0,
        duplicate=0,
    )
    config = EvaluationConfig(ks=(1,), beams=1, bootstrap_samples=100)
    found = summarise(results, config, np.ones(3), sparse_rows(ROWS, ITEMS) | {"nobody": frozenset({99})})
    hits = found[found["metric"] == "hr@1"].set_index("rows")[["mean", "n"]]
    assert hits.loc[["all", FEW, COLD]].values.tolist() == [[0.5, 4], [0.5, 2], [1.0, 1]]
    assert "nobody" not in hits.index


def test_a_new_user_is_never_a_heavy_one() -> None:
    marked = segments(ROWS, {"a": 1}, ITEMS, CONFIG)  # most rows have no interaction at all
    assert not (marked.iloc[:, 1] & marked.iloc[:, 2]).any()


def test_gains_are_of_the_segment_alone_and_paired() -> None:
    marked = segments(ROWS, USERS, ITEMS, CONFIG).assign(nobody=False)
    base = ROWS.assign(target=0, model="m")
    few, new, heavy, cold, nobody = segment_gains(
        base.assign(rank=[1, 1, 0, 1]).sample(frac=1, random_state=1), base.assign(rank=[1, 0, 1, 0]), marked, CONFIG
    )
    assert (few.rows, few.challenger, few.champion) == (2, 1.0, 0.5)
    assert (new.rows, new.challenger, new.champion) == (3, 1.0, 1 / 3)
    assert new.gain is not None
    assert np.isclose(new.gain.mean, 2 / 3)
    assert (heavy.rows, heavy.challenger, heavy.champion) == (1, 0.0, 1.0)
    assert (cold.rows, nobody.rows, nobody.gain) == (1, 0, None)


def test_models_are_timed_in_turn_on_the_same_requests() -> None:
    asked: list[tuple[str, int]] = []

    def answering(name: str) -> Callable[[int], None]:
        return lambda request: asked.append((name, request))

    found = latencies_ms({"challenger": answering("challenger"), "champion": answering("champion")}, 100)
    assert found.keys() == {"challenger", "champion"}
    assert all(milliseconds > 0 for milliseconds in found.values())
    for turn in range(0, len(asked), 2):
        pair = asked[turn : turn + 2]
        assert {name for name, _ in pair} == {"challenger", "champion"}
        assert pair[0][1] == pair[1][1]
    assert {asked[0][0], asked[2][0]} == {"challenger", "champion"}  # neither always comes first
    assert len({request for _, request in asked}) == len(asked) // 2  # what a cache keeps isn't asked again


def test_size_is_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(b"0" * 2**19)
    assert mebibytes(tmp_path) == 0.5
