"""RecBole's models on the rows of `experiments.independent`, in RecBole's environment: nothing of ours is there.

`python -P experiments/by_recbole.py ROWS MODEL SEED OUT [SETTINGS]`: ROWS holds RecBole's atomic files, named as the
directory; MODEL is `GRU4Rec`, `SASRec`, `Caser` or `ItemKNN`; SETTINGS is JSON of those settings of a network that are
not to be the published ones. OUT.parquet gets the test rows' `row_id` and two ranks of the target over the whole
catalogue, from 1: `rank`, and `rank_of_others`, with the history's items taken out (0 for a target among them).
OUT.json gets the settings, the curve and the versions.
"""

from __future__ import annotations

import copy
import itertools
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from scipy.sparse import csr_matrix

HISTORY = "item_id_list"
# What is asked of RecBole: our rows, our rule for the epoch, and no sampled negatives. All else is as published.
ASKED: dict[str, Any] = {
    "benchmark_filename": ["train", "valid", "test"],
    "alias_of_item_id": [HISTORY],
    "load_col": {"inter": ["row_id", "user_id", HISTORY, "item_id"], "item": ["item_id"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
    "metrics": ["NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 6,
    "use_gpu": False,
    "show_progress": False,
}
# Settings that are told beside a model's own.
TOLD = ("epochs", "stopping_step", "train_batch_size", "learner", "learning_rate", "weight_decay")
# RecBole publishes 100 neighbours and no shrinkage for any data; these stand around them.
NEIGHBOURS, SHRINKAGES = (20, 50, 100, 200, 500, 1000), (0.0, 1.0, 10.0, 30.0, 100.0)


def network(rows: Path, name: str, seed: int, others: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A network with its published settings but these; the epoch with the best NDCG@10 on validation is kept."""
    import recbole  # here and below: the ranks are tested where RecBole isn't installed
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    longest = max(len(history.split()) for history in _table(rows, "train")[HISTORY])
    asked = ASKED | {"data_path": str(rows.parent), "seed": seed, "MAX_ITEM_LIST_LENGTH": longest} | others
    config = Config(model=name, dataset=rows.name, config_dict=asked)
    init_seed(seed, True)
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(seed, True)
    model = get_model(name)(config, train.dataset).to(config["device"])
    curve: list[float] = []
    best: dict[str, torch.Tensor] = {}

    def after(epoch: int, score: float) -> None:
        if score > max(curve, default=-1.0):
            best.update(copy.deepcopy(model.state_dict()))
        curve.append(float(score))
        print(f"{name} seed {seed} epoch {epoch + 1}: {score:.4f}", flush=True)

    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.fit(train, valid, saved=False, verbose=False, callback_fn=after)
    model.load_state_dict(best)
    published = Path(recbole.__file__).parent / "properties" / "model" / f"{name}.yaml"
    own = yaml.safe_load(published.read_text(encoding="utf-8"))
    settings = {key: config[key] for key in (*own, *TOLD)}
    return _network_ranks(model, test), {"settings": settings, "curve": curve, "score": max(curve)}


@torch.inference_mode()
def _network_ranks(model: Any, test: Any) -> pd.DataFrame:
    model.eval()
    parts = []
    for rows, *_ in test:
        scores = model.full_sort_predict(rows).clone()
        scores[:, 0] = -torch.inf  # padding
        ids = test.dataset.id2token("row_id", rows["row_id"])
        found = ranks(scores.double().numpy(), rows["item_id"].numpy(), rows[HISTORY].numpy())
        parts.append(found.assign(row_id=ids.astype(np.int64)))
    return pd.concat(parts, ignore_index=True)


def item_knn(rows: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """RecBole's similarities, summed over a row's history as it does over a user's items.

    The best of the grid on the validation rows is kept: without the history's items, which RecBole always takes out.
    """
    from recbole.model.general_recommender.itemknn import ComputeSimilarity

    items = len(pd.read_csv(rows / f"{rows.name}.item", sep="\t"))
    train, valid, test = (_table(rows, period) for period in ("train", "valid", "test"))
    before = train.assign(item_id=train[HISTORY].str.split()).explode("item_id").astype({"item_id": np.int64})
    pairs = pd.concat([train, before])[["user_id", "item_id"]].drop_duplicates()
    users, names = pd.factorize(pairs["user_id"])
    table = csr_matrix((np.ones(len(pairs)), (users, pairs["item_id"])), shape=(len(names), items))
    scored = []
    for neighbours, shrinkage in itertools.product(NEIGHBOURS, SHRINKAGES):
        _, weights = ComputeSimilarity(table, topk=neighbours, shrink=shrinkage).compute_similarity()
        score = ndcg(_item_ranks(weights, valid)["rank_of_others"].to_numpy())
        scored.append((score, {"k": neighbours, "shrink": shrinkage}, weights))
        print(f"ItemKNN k {neighbours} shrink {shrinkage:g}: {score:.4f}", flush=True)
    score, settings, weights = max(scored, key=lambda each: each[0])
    return _item_ranks(weights, test), {"settings": settings, "curve": [each[0] for each in scored], "score": score}


def _item_ranks(weights: csr_matrix, rows: pd.DataFrame) -> pd.DataFrame:
    histories = [np.array(history.split(), dtype=np.int64) for history in rows[HISTORY]]
    width = max(map(len, histories))
    padded = np.array([np.pad(own, (0, width - len(own)), mode="edge") for own in histories])
    marks = csr_matrix((np.ones(padded.size), (np.repeat(np.arange(len(rows)), width), padded.ravel())))
    marks.resize(len(rows), weights.shape[0])
    marks.sum_duplicates()
    marks.data[:] = 1.0
    scores = np.asarray((marks @ weights).todense(), dtype=np.float64)
    return ranks(scores, rows["item_id"].to_numpy(), padded).assign(row_id=rows["row_id"].to_numpy())


def ranks(scores: np.ndarray, targets: np.ndarray, histories: np.ndarray) -> pd.DataFrame:
    """`rank` and `rank_of_others` of (B,) targets in (B, I) scores; equal scores by index. Overwrites `scores`.

    Args:
        histories: (B, L) items, padded with an item that is no target or with one of their own.
    """
    found = {}
    for name in ("rank", "rank_of_others"):
        own = np.take_along_axis(scores, targets[:, None], axis=1)
        before = (scores == own) & (np.arange(scores.shape[1]) < targets[:, None])
        position = ((scores > own) | before).sum(1)
        found[name] = np.where(np.isfinite(own[:, 0]), position + 1, 0)
        np.put_along_axis(scores, histories, -np.inf, axis=1)
    return pd.DataFrame(found)


def ndcg(found: np.ndarray) -> float:
    """Mean NDCG@10 of one target per row."""
    return float(np.where((found > 0) & (found <= 10), 1 / np.log2(np.maximum(found, 1) + 1), 0.0).mean())


def _table(rows: Path, period: str) -> pd.DataFrame:
    found = pd.read_csv(rows / f"{rows.name}.{period}.inter", sep="\t", dtype={f"{HISTORY}:token_seq": str})
    return found.rename(columns=lambda name: name.split(":")[0])


def main() -> None:
    rows, name, seed, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    others = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    sys.argv[1:] = []  # RecBole reads settings from the command line
    torch.set_num_threads(1)
    started = time.perf_counter()
    found, facts = item_knn(rows) if name == "ItemKNN" else network(rows, name, seed, others)
    facts |= {"seconds": time.perf_counter() - started}
    facts |= {"versions": {package: version(package) for package in ("recbole", "torch", "numpy")}}
    found.to_parquet(out.with_suffix(".parquet"), index=False)
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
