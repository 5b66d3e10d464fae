"""Tables and plots of what was run: `python -m experiments.report` writes docs/results/ from the results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from experiments import kept
from experiments.cells import EVALUATION, STUDIES, Cell
from experiments.run import ROOT, is_finished, result_path
from experiments.worlds import NAMES, available, load
from rere.data.sequences import training_counts
from rere.evaluation import metrics
from rere.evaluation.bootstrap import Estimate, bootstrap_means
from rere.evaluation.breakdown import breakdown
from rere.evaluation.evaluator import row_values

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "rere"  # the same figures give the same file
BASE = {
    "main": "SFT (default: the teacher's distribution)",
    "methods": "SFT",
    "codes": "SFT",
    "speed": "ReRe (default)",
    "ablations": "SFT (start)",
    "generation": "SFT (start), constrained",
    "sensitivity": "SFT (start)",
    "pretrained": "SFT, SmolLM2",
}
# What a study's rows are compared with besides its start.
RIVALS = {
    "main": (
        "EASE",
        "co-occurrence",
        "title-kNN",
        "GRU4Rec without the history's items",
        "ensemble of item models",
        "ensemble, new items boosted",
        "labels after the teacher",
        "labels after the teacher, blended, new items boosted",
    ),
    "methods": ("SASRec",),
    "pretrained": ("SASRec",),
}
FAULTS = ("invalid", "duplicate")  # as shares of a list's positions
STAGES = ("start", "best", "last")  # of a training, whose weights were judged on validation rows


def seeds_of(root: Path, data: str, cell: Cell) -> list[int]:
    """Seeds whose result is finished."""
    found = (int(path.name[4:]) for path in (root / data).glob("seed*"))
    return sorted(seed for seed in found if is_finished(result_path(root, data, seed, cell.label), cell))


def read(root: Path, data: str, cell: Cell, seeds: list[int]) -> tuple[list[pd.DataFrame], list[dict[str, Any]]]:
    """Per-row results and facts, one per seed."""
    paths = [result_path(root, data, seed, cell.label) for seed in seeds]
    rows = [pd.read_parquet(path).sort_values("row_id", ignore_index=True) for path in paths]
    return rows, [json.loads(path.with_suffix(".json").read_text()) for path in paths]


def table(root: Path, data: str, study: str, warm: bool = False) -> pd.DataFrame:
    """One row per cell: metrics averaged over seeds, then the paired difference to the study's start.

    An interval resamples users; a row's value is its mean over the seeds, so it is of the method, not of one run. The
    spread over seeds stands beside it. Cells are compared on the seeds that both have.
    """
    counts = training_counts(load(data).dataset)
    records = []
    for cell in STUDIES[study]:
        seeds = seeds_of(root, data, cell)
        if not seeds:
            continue
        rows, facts = read(root, data, cell, seeds)
        keep = rows[0]["warm"].to_numpy() if warm else np.ones(len(rows[0]), dtype=bool)
        each = [row_values(own[keep], EVALUATION) for own in rows]
        mean = sum(each[1:], each[0]) / len(each)
        record: dict[str, Any] = {"model": cell.label, "seeds": len(seeds), "rows": int(keep.sum())}
        users = rows[0].loc[keep, "user_id"].to_numpy()
        for name, estimate in zip(mean, _bootstrap(mean.to_numpy(), users), strict=True):
            record |= {str(name): estimate.mean, f"{name} low": estimate.low, f"{name} high": estimate.high}
        per_seed = [own["ndcg@10"].mean() for own in each]
        record["ndcg@10 seeds"] = float(np.std(per_seed, ddof=1)) if len(seeds) > 1 else np.nan
        for rival in against(study):
            record |= _against(root, data, study, cell, rival, warm=warm, users=users, keep=keep)
        record |= _lists(rows, keep, counts) | _costs(facts)
        records.append(record)
    return pd.DataFrame(records)


def parts_table(root: Path, data: str, study: str) -> pd.DataFrame:
    """`breakdown` of a study's cells, by length of history and by how often the target was seen; means over seeds."""
    world, tables = load(data), []
    counts = dict(zip(world.item_index, training_counts(world.dataset).tolist(), strict=True))
    for cell in STUDIES[study]:
        seeds = seeds_of(root, data, cell)
        if seeds:
            # Rows of all seeds together: a user who is drawn brings those of every seed along.
            rows = pd.concat(read(root, data, cell, seeds)[0], ignore_index=True).assign(model=cell.label)
            own = breakdown(rows, world.windows.of("test"), counts, EVALUATION)
            tables.append(own.assign(n=own["n"] // len(seeds)))
    return pd.concat(tables, ignore_index=True)


def against(study: str) -> list[str]:
    """Labels of the rows that each row of a study is compared with."""
    return [BASE[study], *RIVALS.get(study, ())]


def _bootstrap(values: np.ndarray, users: np.ndarray) -> list[Estimate]:
    return bootstrap_means(values, EVALUATION.bootstrap_samples, EVALUATION.confidence, EVALUATION.seed, users)


def _against(
    root: Path, data: str, study: str, cell: Cell, rival: str, *, warm: bool, users: np.ndarray, keep: np.ndarray
) -> dict[str, float]:
    other = next((known for known in STUDIES[study] if known.label == rival), None)
    if other is None or other.label == cell.label:
        return {}
    seeds = sorted(set(seeds_of(root, data, cell)) & set(seeds_of(root, data, other)))
    if not seeds:
        return {}
    ours, theirs = read(root, data, cell, seeds)[0], read(root, data, other, seeds)[0]
    gaps = [
        metrics.ndcg(own["rank"].to_numpy(), 10) - metrics.ndcg(their["rank"].to_numpy(), 10)
        for own, their in zip(ours, theirs, strict=True)
    ]
    found = _bootstrap(np.mean(gaps, axis=0)[keep][:, None], users)[0]
    return {
        f"vs {rival}": found.mean,
        f"vs {rival} low": found.low,
        f"vs {rival} high": found.high,
        f"vs {rival} p": found.p_value,
    }


def _lists(rows: list[pd.DataFrame], keep: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    tops = [np.array(own.loc[keep, "items"].tolist(), dtype=np.int64)[:, :10] for own in rows]
    return {
        "coverage@10": float(np.mean([metrics.coverage(top, len(counts)) for top in tops])),
        "diversity@10": float(np.mean([metrics.diversity(top, len(counts)) for top in tops])),
        "popularity_bias@10": float(np.mean([metrics.popularity_bias(top, counts) for top in tops])),
        **{fault: float(np.mean([own.loc[keep, fault].mean() for own in rows])) / EVALUATION.beams for fault in FAULTS},
    }


def _costs(facts: list[dict[str, Any]]) -> dict[str, float]:
    found = {name: float(np.mean([record[name] for record in facts])) for name in ("seconds", "tokens")}
    of_stages = [f"{stage}_valid_ndcg@10" for stage in STAGES]
    for name in ("frac_reward_zero_std", "groups_with_hit", "updates", "epochs", *of_stages):
        values = [record["facts"][name] for record in facts if name in record["facts"]]
        found[name] = float(np.mean(values)) if values else np.nan
    return found


def markdown(found: pd.DataFrame, study: str) -> str:
    """The table that people read; the CSV beside it has every figure."""
    names = ["model", "HR@1", "NDCG@3", "HR@10", "NDCG@10 [95 %]", "HR@20", "HR@50", "seeds", "± seeds"]
    names += [f"Δ to {name} [95 %], p" for name in against(study)]
    faults = FAULTS if study == "generation" else ()  # nil wherever the constraint holds
    names += ["epochs", "validation: start, best, last", "silent groups", "coverage@10", *faults, "train s"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for _, row in found.iterrows():
        cells = [row["model"], *(_figure(row, name, ".4f") for name in ("hr@1", "ndcg@3", "hr@10"))]
        cells.append(f"{row['ndcg@10']:.4f} [{row['ndcg@10 low']:.4f}, {row['ndcg@10 high']:.4f}]")
        cells += [_figure(row, "hr@20", ".4f"), _figure(row, "hr@50", ".4f"), str(row["seeds"])]
        cells.append(_figure(row, "ndcg@10 seeds", ".4f"))
        for name in against(study):
            gap = row.get(f"vs {name}", np.nan)
            low, high, p = (row.get(f"vs {name} {end}", np.nan) for end in ("low", "high", "p"))
            cells.append("–" if np.isnan(gap) else f"{gap:+.4f} [{low:+.4f}, {high:+.4f}], {p:.3f}")
        stages = [_figure(row, f"{stage}_valid_ndcg@10", ".4f") for stage in STAGES]
        cells += [_figure(row, "epochs", ".2f"), "–" if set(stages) == {"–"} else ", ".join(stages)]
        cells += [_figure(row, "frac_reward_zero_std", ".2f"), f"{row['coverage@10']:.3f}"]
        cells += [*(f"{row[fault]:.3f}" for fault in faults), f"{row['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(row: pd.Series[Any], name: str, form: str) -> str:
    """A figure, or a dash where it isn't known: tables that were made before it was reported lack its column."""
    value = row.get(name, np.nan)
    return "–" if np.isnan(value) else format(value, form)


def parts_markdown(parts: pd.DataFrame) -> str:
    """A table for each way of parting the rows: NDCG@10 of each model, and HR@10 behind it."""
    tables = []
    for by, own in parts.groupby("by", sort=False):
        rows = own.groupby("part", sort=False)["n"].first()
        lines = ["| " + " | ".join([str(by), *(f"{part} ({n:,} rows)" for part, n in rows.items())]) + " |"]
        lines.append("|" + "---|" * (len(rows) + 1))
        for model, cells in own.groupby("model", sort=False):
            found = cells.set_index("part").loc[list(rows.index)]
            values = zip(found["ndcg@10"], found["hr@10"], strict=True)
            lines.append("| " + " | ".join([str(model), *(f"{gain:.4f}, {hits:.3f}" for gain, hits in values)]) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def plot(found: pd.DataFrame, title: str, path: Path) -> None:
    """NDCG@10 with its interval, one line per model."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 0.36 * len(found) + 1.0))
    heights = np.arange(len(found))[::-1]
    middle = found["ndcg@10"].to_numpy()
    low, high = (found[f"ndcg@10 {end}"].to_numpy() for end in ("low", "high"))
    axes.errorbar(middle, heights, xerr=[middle - low, high - middle], fmt="o", capsize=3, color="#2563a8")
    axes.set_yticks(heights, found["model"])
    axes.set_xlabel("NDCG@10, 95 % interval")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where results are kept (default: {ROOT})")
    parser.add_argument("--to", type=Path, default=Path("docs/results"), help="default: docs/results")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    for data in filter(available, NAMES):
        for study in STUDIES:
            write(given.root, data, study, given.to)
    page(given.to)


def write(root: Path, data: str, study: str, to: Path) -> None:
    """One study's files, if its start and another row have results: figures as CSV, what they rest on as Parquet."""
    found = table(root, data, study)
    if len(found) < 2 or BASE[study] not in set(found["model"]):
        return
    found.to_csv(to / f"{data}-{study}.csv", index=False, float_format="%.6g")
    warm = table(root, data, study, warm=True)
    warm.to_csv(to / f"{data}-{study}-warm.csv", index=False, float_format="%.6g")
    parts = parts_table(root, data, study)
    parts.to_csv(to / f"{data}-{study}-breakdown.csv", index=False, float_format="%.6g")
    evidence(root, data, study, to)
    print(f"{data}, {study}\n{markdown(found, study)}\n")


def evidence(root: Path, data: str, study: str, to: Path) -> None:
    """What a study's figures rest on: the ranks of all rows, a line per run, and the curves of trainings."""
    paths = {
        (cell.label, seed): result_path(root, data, seed, cell.label)
        for cell in STUDIES[study]
        for seed in seeds_of(root, data, cell)
    }
    columns = ["row_id", "user_id", "target", "warm", "rank"]
    ranks = kept.ranks({run: pd.read_parquet(path, columns=columns) for run, path in paths.items()})
    ranks.to_parquet(to / f"{data}-{study}-ranks.parquet", index=False, compression="zstd")
    kept.runs(paths).to_csv(to / f"{data}-{study}-runs.csv", index=False, float_format="%.6g")
    curves = kept.curves(paths)
    if len(curves):
        curves.to_parquet(to / f"{data}-{study}-curves.parquet", index=False, compression="zstd")


def page(to: Path) -> None:
    """`tables.md` and the plots, from all CSV files at hand: a study that wasn't run again keeps its tables."""
    parts = ["# Tables\n\nWritten by `python -m experiments.report`.\n"]
    for data in NAMES:
        for study in STUDIES:
            stem = f"{data}-{study}"
            if (to / f"{stem}.csv").exists():
                found = pd.read_csv(to / f"{stem}.csv")
                title = f"{data}, {study}: {found['rows'].iloc[0]} rows, {found['seeds'].max()} seeds"
                plot(found, title, to / f"{stem}.svg")
                parts.append(f"## {data}, {study}\n\n{markdown(found, study)}\n\n![NDCG@10]({stem}.svg)\n")
            if (to / f"{stem}-breakdown.csv").exists():
                known = pd.read_csv(to / f"{stem}-breakdown.csv")
                parts.append(f"NDCG@10 and HR@10 on parts of the rows:\n\n{parts_markdown(known)}\n")
    (to / "tables.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
