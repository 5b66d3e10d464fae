"""Item models at their best: `python -m experiments.rivals --data movielens toys --seeds 3`.

A model's trials are its defaults, then settings drawn at random (the same for everybody who runs this). The best by
NDCG@10 on half of the validation users is kept, and an ensemble of the tuned ones is fitted on the same half; the other
half and the test rows are reported. Networks are then fitted with each seed. What is finished is not run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from experiments.cells import EVALUATION
from experiments.lab import name_of
from experiments.run import ROOT
from experiments.worlds import NAMES, ExperimentData, check, load
from rere.artifacts.manifest import is_sealed
from rere.config.tuning import TuningConfig
from rere.config.variants import Variant
from rere.data.sequences import item_counts
from rere.evaluation.bootstrap import bootstrap_means
from rere.evaluation.breakdown import breakdown
from rere.evaluation.evaluator import evaluate
from rere.evaluation.metrics import hit_rate, ndcg
from rere.recommenders.ensemble import Ensemble, EnsembleConfig
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.rankings import mean_ndcg
from rere.recommenders.registry import ITEM_MODELS, model_type

NETWORK = {
    "width": (64, 128, 256),
    "dropout": (0.2, 0.3, 0.4, 0.5),
    "learning_rate": (1e-3, 2e-3, 3e-3),
    "weight_decay": (0.01, 0.1),
}
SPACES: dict[str, dict[str, tuple[Any, ...]]] = {
    "ease": {"l2": (30.0, 100.0, 300.0, 1000.0), "recency": (0.4, 0.6, 0.8, 1.0)},
    "item_knn": {
        "recency": (0.4, 0.6, 0.8, 1.0),
        "shrinkage": (3.0, 10.0, 30.0, 100.0),
        "neighbours": (50, 200, 1000),
    },
    "co_occurrence": {
        "window": (5, 10, 30),
        "decay": (0.6, 0.7, 0.8, 0.9),
        "recency": (0.4, 0.5, 0.6, 0.7, 0.8),
        "row_power": (0.3, 0.5, 0.7, 1.0),
    },
    "title_knn": {
        "sharpness": (1.0, 2.0, 3.0, 4.0),
        "recency": (0.4, 0.6, 0.8, 1.0),
        "neighbours": (50, 200, 1000),
    },
    "sasrec": NETWORK | {"layers": (1, 2)},
    "gru4rec": NETWORK,
    "caser": NETWORK | {"batch_rows": (256, 512)},
}
NETWORKS = ("sasrec", "gru4rec", "caser")
KINDS = [kind for kind in ITEM_MODELS if kind in SPACES]
POOLS: dict[str, Literal["fitted", "equal"]] = {
    "ensemble, fitted weights": "fitted",
    "ensemble, equal weights": "equal",
}


class Rivals:
    """The item models of one data set, tuned."""

    def __init__(self, world: ExperimentData, root: Path, trials: Mapping[str, int]) -> None:
        self.world, self.root, self.trials = world, root / world.name / "rivals", trials

    def settings(self, kind: str) -> Iterator[Variant]:
        """The trials of a kind."""
        random, settings = np.random.default_rng(0), model_type(kind).config_type
        yield settings.model_validate({})
        for _ in range(self.trials[kind] - 1):
            drawn = {name: values[int(random.integers(len(values)))] for name, values in SPACES[kind].items()}
            yield settings.model_validate(drawn)

    def fit(self, config: Variant, fitted: Mapping[str, ItemModel] | None = None) -> ItemModel:
        """Fitted on the selection half, or read where that was done before."""
        fitted = fitted or {}
        contents = (model.content() for model in fitted.values())
        work, model = self.root / name_of(config.type, config, *contents), model_type(config.type)
        if not is_sealed(work):
            rows, titles = self.world.selection_rows(), self.world.dataset.items["title"].tolist()
            model.fit(FitData(self.world.sequences, len(titles), *rows, fitted=fitted, titles=titles), config).save(
                work
            )
        return model.load(work)

    def tuned(self, kind: str) -> Variant:
        """The settings with the best NDCG@10 on the selection half."""
        found = []
        for config in self.settings(kind):
            score = self.fit(config).best_score()
            found.append((score, config))
            print(f"{self.world.name} {kind:14s} {score:.4f}  {_changes(config)}", flush=True)
        return max(found, key=lambda pair: pair[0])[1]

    def of_seed(self, best: Mapping[str, Variant], seed: int) -> dict[str, ItemModel]:
        """The tuned models and the ensembles of them, by name."""
        configs = {
            kind: config.model_copy(update={"seed": seed} if "seed" in type(config).model_fields else {})
            for kind, config in best.items()
        }
        single = {kind: self.fit(config) for kind, config in configs.items()}
        pools = {}
        for name, weights in POOLS.items():
            members = tuple(kind for kind in single if kind not in EnsembleConfig().mixed)
            pools[name] = self.fit(EnsembleConfig(members=members, weights=weights), single)
        return {model.name: model for model in single.values()} | pools

    def report_score(self, model: ItemModel) -> float:
        """NDCG@10 on the half of the validation users that nothing was chosen on."""
        return mean_ndcg(model, *self.world.report_rows())


def run(world: ExperimentData, root: Path, trials: Mapping[str, int], seeds: int, to: Path) -> None:
    """Tune, fit, judge; writes `rivals-DATA.csv` and `rivals-DATA-breakdown.csv`, and prints a table."""
    rivals = Rivals(world, root, trials)
    best = {kind: rivals.tuned(kind) for kind in KINDS}
    test = world.windows.of("test")
    results: dict[str, list[pd.DataFrame]] = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for name, model in rivals.of_seed(best, seed).items():
            own = evaluate(model, test, world.item_index, EVALUATION).assign(model=name).drop(columns="scores")
            results.setdefault(name, []).append(own)
            chosen = {"selection": model.best_score(), "report": rivals.report_score(model)}
            facts.setdefault(name, []).append(chosen | {"settings": _described(model)})
            print(f"{world.name} seed {seed} {name:26s} test {ndcg(own['rank'].to_numpy(), 10).mean():.4f}", flush=True)
    table = summary(results, facts)
    table.to_csv(to / f"rivals-{world.name}.csv", index=False, float_format="%.6g")
    first = pd.concat([each[0] for each in results.values()], ignore_index=True)
    counts = dict(zip(world.item_index, item_counts(world.sequences, len(world.item_index)).tolist(), strict=True))
    parts = breakdown(first, test, counts, EVALUATION)
    parts.to_csv(to / f"rivals-{world.name}-breakdown.csv", index=False, float_format="%.6g")
    print(table.to_string(index=False))


def summary(results: Mapping[str, list[pd.DataFrame]], facts: Mapping[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """A row per model: means over the seeds, intervals over users, and the difference to the best single model.

    The best single model is the one with the best mean on the selection half. HR@10 is told for cold targets too.
    """
    means = {
        name: [np.mean([metric(own["rank"].to_numpy(), 10) for own in each], axis=0) for metric in (ndcg, hit_rate)]
        for name, each in results.items()
    }
    single = [name for name in results if name not in POOLS]
    best = max(single, key=lambda name: np.mean([fact["selection"] for fact in facts[name]]))
    records = []
    for name, (gains, hits) in means.items():
        rows = results[name][0]
        columns = np.column_stack([gains, hits, gains - means[best][0]])
        estimates = bootstrap_means(
            columns, EVALUATION.bootstrap_samples, EVALUATION.confidence, EVALUATION.seed, rows["user_id"].to_numpy()
        )
        record: dict[str, Any] = {"model": name, "seeds": len(results[name]), "rows": len(rows)}
        for half in ("selection", "report"):
            record[f"{half} half ndcg@10"] = float(np.mean([fact[half] for fact in facts[name]]))
        for label, estimate in zip(("ndcg@10", "hr@10", f"vs {best}"), estimates, strict=True):
            record |= {label: estimate.mean, f"{label} low": estimate.low, f"{label} high": estimate.high}
        cold = ~rows["warm"].to_numpy()
        record |= {"cold rows": int(cold.sum()), "cold hr@10": float(hits[cold].mean()) if cold.any() else np.nan}
        records.append(record | {"settings of seed 0": facts[name][0]["settings"]})
    return pd.DataFrame(records)


def _described(model: ItemModel) -> str:
    if isinstance(model, Ensemble):
        return " ".join(
            f"{kind} {weight:.2f}" for kind, weight in zip(model.models, [*model.weights, *model.shares], strict=True)
        )
    return _changes(model.config)


def _changes(config: Variant) -> str:
    """Where settings are not the defaults."""
    defaults = type(config).model_validate({})
    found = {name: value for name, value in config if value != getattr(defaults, name) and name != "seed"}
    return ", ".join(f"{name} {value}" for name, value in found.items()) or "defaults"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.rivals", description=__doc__)
    parser.add_argument("--data", choices=NAMES, nargs="+", default=["movielens"])
    trials = TuningConfig().trials  # what `tune_pipeline` gives the language model, chosen on the same half
    told = f"(default: {trials}, as many as the language model's tuning)"
    parser.add_argument("--trials", type=int, default=trials, help=f"settings tried per model without epochs {told}")
    parser.add_argument("--network-trials", type=int, default=trials, help=f"settings tried per network {told}")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of the networks (default: 3)")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where models are kept (default: {ROOT})")
    parser.add_argument("--to", type=Path, default=Path("docs/results"), help="default: docs/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.to.mkdir(parents=True, exist_ok=True)
    for name in given.data:
        check(name)
    for name in given.data:
        each = {kind: given.network_trials if kind in NETWORKS else given.trials for kind in KINDS}
        run(load(name), given.root, each, given.seeds, given.to)


if __name__ == "__main__":
    main()
