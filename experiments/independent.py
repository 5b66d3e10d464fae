"""Our item models beside RecBole's on the same rows: `make independent`, or
`python -m experiments.independent --python .venv-recbole/bin/python --data movielens --seeds 1`.

RecBole trains its own networks, with its published settings, on exactly our training rows and keeps the epoch that is
best on the same half of the validation users; both rank the whole catalogue on the same test rows. Its SASRec is there
twice, also with our settings. Its item-kNN is the best of a grid, ours has its defaults. The difference has an interval
over users. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.by_recbole import ranks
from experiments.cells import EVALUATION
from experiments.lab import Runner
from experiments.run import ROOT
from experiments.worlds import NAMES, ExperimentData, check, load
from rere.artifacts.manifest import fingerprint, sha256
from rere.data.halves import selection_half
from rere.errors import RereError
from rere.evaluation.bootstrap import bootstrap_means
from rere.evaluation.metrics import hit_rate, ndcg
from rere.recommenders.item_model import ItemModel
from rere.recommenders.rankings import ROWS_AT_ONCE
from rere.recommenders.sequential.sasrec import SASRecConfig

SCRIPT = Path(__file__).with_name("by_recbole.py")
THEIRS = {"gru4rec": "GRU4Rec", "sasrec": "SASRec", "caser": "Caser", "item_knn": "ItemKNN"}
SEEDLESS = ("item_knn",)
RANKS = {"rank": "", "rank_of_others": " without history"}  # column: what it adds to a figure's name


def sasrec_as_ours(config: SASRecConfig) -> dict[str, Any]:
    """RecBole's settings for a SASRec with ours.

    What stays its own: its layers (norms after them, initial weights), a constant learning rate, no weight decay (its
    Adam takes it for an L2 penalty), and its patience. It trains one target per row where ours trains each item of a
    row, so a batch is as many targets: those of our `batch_rows` full rows, at most `history_items` each.
    """
    return {
        "hidden_size": config.width,
        "inner_size": config.feed_forward,
        "n_layers": config.layers,
        "n_heads": config.heads,
        "hidden_dropout_prob": config.dropout,
        "attn_dropout_prob": config.dropout,
        "layer_norm_eps": 1e-5,
        "learning_rate": config.learning_rate,
        "train_batch_size": config.batch_rows * config.history_items,
    }


# By kind, RecBole's network once more, with what is set otherwise than published.
AS_OURS_SUFFIX = " (our settings)"
AS_OURS: Mapping[str, Mapping[str, Any]] = {"sasrec": sasrec_as_ours(SASRecConfig())}


class RecBole:
    """RecBole's models of one data set.

    Args:
        python: interpreter of an environment with the packages of `experiments/recbole.txt`.
    """

    def __init__(self, world: ExperimentData, root: Path, python: Path) -> None:
        self.world, self.python = world, python
        made_by = {"script": sha256(SCRIPT), "windows": world.windows.fingerprint}
        self.work = root.absolute() / world.name / f"recbole-{fingerprint(made_by)[:12]}"

    def results(self, kind: str, seed: int, others: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
        """The test rows' ranks, and the facts of the fit; trained unless that was done before.

        Args:
            others: settings that are not to be the published ones.

        Raises:
            RereError: RecBole's run fails.
        """
        parts = [THEIRS[kind], str(seed)]
        if others:
            parts.insert(1, fingerprint({name: json.dumps(value) for name, value in others.items()})[:12])
        out = self.work / "-".join(parts)
        if not out.with_suffix(".json").exists():
            rows = self.work / "rows"
            write_rows(self.world, rows)
            command = [str(self.python.absolute()), "-P", "-W", "ignore::FutureWarning", str(SCRIPT)]
            command += [str(rows), THEIRS[kind], str(seed), str(out), json.dumps(dict(others))]
            apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            if subprocess.run(command, cwd=self.work, env=apart).returncode:
                raise RereError(
                    f"RecBole's {THEIRS[kind]} to train", "a failure (above)", f"see that {self.python} has recbole.txt"
                )
        return pd.read_parquet(out.with_suffix(".parquet")), json.loads(out.with_suffix(".json").read_text())


def write_rows(world: ExperimentData, to: Path) -> None:
    """RecBole's atomic files, named as their directory: the periods' rows, of validation the selection half.

    Items are indices. The file of items names the whole catalogue, so that all of it is ranked.
    """
    to.mkdir(parents=True, exist_ok=True)
    periods = {"train": world.windows.of("train"), "valid": selection_half(world.windows)}
    for period, rows in (periods | {"test": world.windows.of("test")}).items():
        histories = [" ".join(str(world.item_index[item]) for item in history) for history in rows["history"]]
        table = pd.DataFrame(
            {
                "row_id:token": rows["row_id"].to_numpy(),
                "user_id:token": rows["user_id"].astype(str).to_numpy(),
                "item_id_list:token_seq": histories,
                "item_id:token": [world.item_index[item] for item in rows["target"]],
            }
        )
        table.to_csv(to / f"{to.name}.{period}.inter", sep="\t", index=False)
    items = pd.DataFrame({"item_id:token": range(len(world.item_index))})
    items.to_csv(to / f"{to.name}.item", sep="\t", index=False)


def our_ranks(model: ItemModel, world: ExperimentData) -> pd.DataFrame:
    """The test rows' `row_id` and `user_id`, with the two ranks that RecBole's side gives (see `by_recbole`)."""
    test, (histories, targets) = world.windows.of("test"), world.rows("test")
    parts = []
    for start in range(0, len(histories), ROWS_AT_ONCE):
        own = histories[start : start + ROWS_AT_ONCE]
        width = max(map(len, own))
        padded = np.array([history + history[-1:] * (width - len(history)) for history in own])
        scores = model.log_probs(own).astype(np.float64)
        parts.append(ranks(scores, targets[start : start + ROWS_AT_ONCE], padded))
    found = pd.concat(parts, ignore_index=True)
    return found.assign(row_id=test["row_id"].to_numpy(), user_id=test["user_id"].to_numpy())


def compare(ours: Sequence[pd.DataFrame], theirs: Sequence[pd.DataFrame]) -> dict[str, float]:
    """NDCG@10 and HR@10 of both, and ours less theirs, with intervals over users; means over the seeds of each.

    Once with nothing taken out of either's ranking, and once with the history's items taken out of both.

    Args:
        ours: results of `our_ranks`, one per seed.
        theirs: ranks as `by_recbole` writes them, one per seed.

    Raises:
        RereError: they are of other rows.
    """
    judged = ours[0].sort_values("row_id")
    columns: dict[str, np.ndarray] = {}
    hits: dict[str, float] = {}
    for side, tables in (("ours", ours), ("theirs", theirs)):
        ordered = [table.sort_values("row_id") for table in tables]
        for table in ordered:
            if table["row_id"].tolist() != judged["row_id"].tolist():
                raise RereError(
                    f"ranks of the {len(judged)} test rows", f"{len(table)} others", "run it again elsewhere"
                )
        for column, suffix in RANKS.items():
            found = [table[column].to_numpy() for table in ordered]
            columns[side + suffix] = np.mean([ndcg(own, 10) for own in found], axis=0)
            hits[f"hr@10 {side}{suffix}"] = float(np.mean([hit_rate(own, 10) for own in found]))
    for suffix in RANKS.values():
        columns[f"difference{suffix}"] = columns[f"ours{suffix}"] - columns[f"theirs{suffix}"]
    estimates = bootstrap_means(
        np.column_stack(list(columns.values())),
        EVALUATION.bootstrap_samples,
        EVALUATION.confidence,
        EVALUATION.seed,
        judged["user_id"].to_numpy(),
    )
    record: dict[str, float] = {"rows": len(judged)}
    for name, estimate in zip(columns, estimates, strict=True):
        record |= {name: estimate.mean, f"{name} low": estimate.low, f"{name} high": estimate.high}
    return record | hits


def run(world: ExperimentData, root: Path, python: Path, kinds: Sequence[str], seeds: int) -> pd.DataFrame:
    """A row per model; a second one for a network that is in `AS_OURS`."""
    library = RecBole(world, root, python)
    records: list[dict[str, Any]] = []
    for kind in kinds:
        models = [Runner(world, seed, root).item_model(kind) for seed in range(1 if kind in SEEDLESS else seeds)]
        ours = [our_ranks(model, world) for model in models]
        for others in ({}, AS_OURS[kind]) if kind in AS_OURS else ({},):
            found = [library.results(kind, seed, others) for seed in range(len(models))]
            facts = [fact for _, fact in found]
            record: dict[str, Any] = {"model": THEIRS[kind] + (AS_OURS_SUFFIX if others else ""), "seeds": len(ours)}
            record |= compare(ours, [theirs for theirs, _ in found])
            record |= {"valid ours": np.mean([model.best_score() for model in models])}
            record |= {"valid theirs": np.mean([fact["score"] for fact in facts])}
            record |= {"their epochs": np.mean([len(fact["curve"]) for fact in facts]), **_told(facts[0])}
            records.append(record)
            print(_sentences(record), flush=True)
    return pd.DataFrame(records)


def _told(fact: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(fact[name]) for name in ("settings", "versions")}


def _sentences(record: Mapping[str, Any]) -> str:
    lines = []
    for suffix in RANKS.values():
        gap, low, high = (record[f"difference{suffix}{end}"] for end in ("", " low", " high"))
        verdict = (
            "ours is weaker" if high < 0 else "ours is stronger" if low > 0 else "no difference beyond the interval"
        )
        lines.append(
            f"{record['model'] + suffix:37s} ours {record[f'ours{suffix}']:.4f}, RecBole's "
            f"{record[f'theirs{suffix}']:.4f}: {gap:+.4f} [{low:+.4f}, {high:+.4f}], {verdict}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.independent",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--python", type=Path, default=Path(".venv-recbole/bin/python"), help="RecBole's environment")
    parser.add_argument("--data", choices=NAMES, nargs="+", default=["movielens"])
    parser.add_argument("--only", choices=THEIRS, nargs="+", default=list(THEIRS), help="kinds (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ... of both (default: 1)")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where models are kept (default: {ROOT})")
    parser.add_argument("--to", type=Path, default=Path("docs/results"), help="default: docs/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        for name in given.data:
            check(name)
        if not given.python.exists():
            raise RereError("the environment of RecBole", f"no {given.python}", "make independent")
        given.to.mkdir(parents=True, exist_ok=True)
        for name in given.data:
            table = run(load(name), given.root, given.python, given.only, given.seeds)
            table.to_csv(given.to / f"independent-{name}.csv", index=False, float_format="%.6g")
    except RereError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
