"""Run studies: `python -m experiments.run main --data movielens --seeds 3`. What is there is not run again."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pandas as pd

from experiments.cells import EVALUATION, STUDIES, Cell
from experiments.kept import beams_of, curves_path
from experiments.lab import Runner
from experiments.worlds import NAMES, check, load, of_users
from rere.artifacts.provenance import provenance
from rere.evaluation.evaluator import evaluate
from rere.evaluation.metrics import ndcg
from rere.runtime.memory import keep_freed_memory

ROOT = Path(os.environ.get("RERE_EXPERIMENTS_DIR", ".rere/experiments"))


def result_path(root: Path, data: str, seed: int, label: str) -> Path:
    """Where a cell's per-row results lie; a JSON file of the same stem has its cost."""
    stem = "".join(c if c.isalnum() else "_" for c in label)
    return root / data / f"seed{seed}" / "results" / f"{stem}.parquet"


def is_finished(path: Path, cell: Cell) -> bool:
    """Whether a cell's results are there, judged under its study's normalisation and by lists of today's length."""
    facts = path.with_suffix(".json")
    if not facts.exists() or json.loads(facts.read_text(encoding="utf-8")).get("normalisation") != cell.judged:
        return False
    return beams_of(path) == EVALUATION.beams


def run_cell(lab: Runner, cell: Cell, root: Path) -> None:
    """Train, judge the test rows, write the results and then the facts, unless all that was done before."""
    path = result_path(root, lab.world.name, lab.seed, cell.label)
    if is_finished(path, cell):
        return
    facts = path.with_suffix(".json")
    made = cell.make(lab, cell.judged)
    made.recommender.name = cell.label
    test = of_users(lab.world.windows.of("test"), cell.every)
    rows = evaluate(made.recommender, test, lab.world.item_index, EVALUATION)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.drop(columns="scores").to_parquet(path, index=False)
    if made.curves:
        pd.DataFrame(made.curves).to_parquet(curves_path(path), index=False)
    record = {"seconds": made.seconds, "tokens": made.tokens, "facts": made.facts or {}, "normalisation": cell.judged}
    record |= {"windows": lab.world.windows.fingerprint, "provenance": provenance({"all": lab.seed})}
    facts.write_text(json.dumps(record, indent=1), encoding="utf-8")
    score = ndcg(rows["rank"].to_numpy(), 10).mean()
    print(f"{lab.world.name} seed {lab.seed}  {cell.label:45s} NDCG@10 {score:.4f}  {made.seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.run", description=__doc__)
    parser.add_argument("study", choices=STUDIES, nargs="+", help="each is a table of docs/results/tables.md")
    parser.add_argument(
        "--data", choices=NAMES, nargs="+", default=["movielens"], help="default: movielens; toys: see RERE_TOYS_2013"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    parser.add_argument("--only", help="cells whose label contains this")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where results are kept (default: {ROOT})")
    given = parser.parse_args()
    keep_freed_memory()
    for name in given.data:
        check(name)
    worlds = {name: load(name) for name in given.data}
    for seed in range(given.seeds):
        for world in worlds.values():
            lab = Runner(world, seed, given.root)
            for study in given.study:
                for cell in STUDIES[study]:
                    if given.only is None or given.only in cell.label:
                        run_cell(lab, cell, given.root)


if __name__ == "__main__":
    main()
