"""Our baselines and metrics against RecTools' on the same rows.

RecTools 0.19 asks for pandas below 3, so it runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from infra.patience import run
from rere.evaluation.metrics import coverage, row_metric, target_ranks
from rere.recommenders.ease import EASE, EASEConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.popularity import Popularity

REQUIREMENT = "rectools==0.19.0"
DOWNLOADING = 1_800.0  # seconds; a slow network is no work and no output
USERS, ITEMS, K, L2 = 80, 30, 10, 20.0
THEIRS = """
import json, sys
import pandas as pd
from rectools.dataset import Dataset
from rectools.metrics import NDCG, CatalogCoverage, HitRate, calc_metrics
from rectools.models import EASEModel, PopularModel

given = json.load(open(sys.argv[1]))
rows = pd.DataFrame(given["rows"], columns=["user_id", "item_id"]).assign(weight=1, datetime="2026-01-01")
targets = pd.DataFrame(given["targets"], columns=["user_id", "item_id"])
k, dataset = given["k"], Dataset.construct(rows)
answer = {}
for name, model in (("popularity", PopularModel()), ("ease", EASEModel(given["l2"]))):
    asked = {"users": targets["user_id"].to_numpy(), "dataset": dataset, "k": k, "filter_viewed": False}
    lists = model.fit(dataset).recommend(**asked)
    metrics = {"hr": HitRate(k), "ndcg": NDCG(k, divide_by_achievable=True)}
    metrics["coverage"] = CatalogCoverage(k, normalize=True)
    answer[name] = calc_metrics(metrics, lists, targets, catalog=list(range(given["items"])))
    answer[name]["lists"] = [own["item_id"].tolist() for _, own in lists.groupby("user_id")]
    answer[name]["scores"] = [own["score"].tolist() for _, own in lists.groupby("user_id")]
answer["ease"]["weights"] = model.weight.tolist()
json.dump(answer, open(sys.argv[2], "w"))
"""


@pytest.mark.environment
def test_popularity_ease_and_the_metrics_of_their_lists_are_those_of_rectools(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    popular = 1 / np.arange(1, ITEMS + 1)
    sequences = [
        random.choice(ITEMS, size, replace=False, p=popular / popular.sum()) for size in random.integers(3, 12, USERS)
    ]
    sequences[0] = np.arange(ITEMS)  # every item is known
    targets = random.integers(0, ITEMS, USERS)
    given = {
        "rows": [[user, int(item)] for user, own in enumerate(sequences) for item in own],
        "targets": [[user, int(item)] for user, item in enumerate(targets)],
        "items": ITEMS,
        "k": K,
        "l2": L2,
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    python = str(tmp_path / "environment" / "bin" / "python")
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    elsewhere["HOME"] = str(tmp_path / "home")
    for step in (
        [sys.executable, "-m", "venv", str(tmp_path / "environment")],
        [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", REQUIREMENT],
        [python, "-c", THEIRS, "given.json", "answer.json"],
    ):
        done = run(step, quiet=DOWNLOADING, cwd=tmp_path, env=elsewhere)
        assert done.returncode == 0, done.stdout[-4000:]
    answer = json.loads((tmp_path / "answer.json").read_text())

    # RecTools ranks with its matrix transposed (the paper: x B), so EASE's weights are compared, not its lists.
    weights = EASE.fit_weights(FitData(sequences, ITEMS, [], []), EASEConfig(l2=L2))
    np.testing.assert_allclose(weights, answer["ease"]["weights"], atol=1e-5)  # float32 there

    popularity = Popularity.fit(sequences, ITEMS)
    ours, theirs = popularity.recommend([own.tolist() for own in sequences], K), answer["popularity"]
    counts = np.array(theirs["scores"])  # equal ones may stand in another order
    np.testing.assert_allclose(ours.scores, counts / sum(map(len, sequences)), rtol=1e-6)
    np.testing.assert_array_equal(popularity.counts[np.array(theirs["lists"])], counts)

    for name in answer:  # the metrics of the very same lists
        lists = np.array(answer[name]["lists"])
        for metric in ("hr", "ndcg"):
            value = row_metric(f"{metric}@{K}", target_ranks(lists, targets)).mean()
            assert value == pytest.approx(answer[name][metric])
        assert coverage(lists, ITEMS) == pytest.approx(answer[name]["coverage"])
