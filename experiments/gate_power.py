"""What the gate can see on the data at hand: `python -m experiments.gate_power` draws the curve.

For models that differ row by row as two models of a run do (by default the last pipeline run's fine-tuned and
reinforced ones): the share of challengers that pass, by how much better or worse they truly are, on test sets of
several sizes; by formula, and on test sets drawn from the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rere.config.promotion import GateConfig, NonInferiority
from rere.errors import RereError
from rere.evaluation.evaluator import paired_values
from rere.evaluation.gate import gate_power
from rere.evaluation.power import Power, simulated


def power_table(
    ours: pd.DataFrame, theirs: pd.DataFrame, config: GateConfig, sizes: Sequence[int], trials: int = 2000
) -> pd.DataFrame:
    """A row per size and true difference: `rows`, `difference`, `formula` and `drawn` (shares that pass).

    Args:
        ours, theirs: results of `evaluate` of two models on the same rows.
        sizes: test rows; a size beyond the results' own is drawn from them with replacement.

    Raises:
        RereError: results of other rows, or of a single user.
    """
    power = gate_power(ours, theirs, config)
    if power is None:
        raise RereError("test rows of at least two users", "one", "judge on more test rows")
    values, others, judged = paired_values(ours, theirs, config.metric)
    changes, users = values - others, judged["user_id"].to_numpy()
    tables = []
    for size in sizes:
        sized = _resized(power, size)
        reach = max(abs(power.threshold), 2 * sized.error)
        differences = np.linspace(-2 * reach, 2 * reach, 17)
        drawn = simulated(changes, users, power, differences.tolist(), rows=size, trials=trials)
        formula = [sized.passes(difference) for difference in differences]
        tables.append(pd.DataFrame({"rows": size, "difference": differences, "formula": formula, "drawn": drawn}))
    return pd.concat(tables, ignore_index=True)


def _resized(power: Power, rows: int) -> Power:
    return replace(power, error=power.error * (power.rows / rows) ** 0.5, rows=rows)


def draw(table: pd.DataFrame, config: GateConfig, path: Path) -> None:
    """The curves as a file: lines by formula, points from drawn test sets."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for size, own in table.groupby("rows"):
        (line,) = axes.plot(own["difference"], own["formula"], label=f"{size:,} test rows")
        axes.plot(own["difference"], own["drawn"], "o", color=line.get_color(), markersize=4)
    axes.axvline(config.test.threshold, color="grey", linestyle=":", label="the threshold")
    axes.set_xlabel(f"true difference to the champion ({config.metric.upper()})")
    axes.set_ylabel("share of challengers that pass")
    axes.set_ylim(0, 1)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _last_run() -> pd.DataFrame:
    from zenml.client import Client

    try:
        found: pd.DataFrame = Client().get_artifact_version("results").load()
    except KeyError:
        raise RereError(
            "results of a finished run", "none", "run the pipeline first, or name a file: --results"
        ) from None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gate_power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, nargs="+", help="Parquet files of results; default: the last run's")
    parser.add_argument("--models", nargs=2, default=["ReRe", "SFT"], help="two models of them (default: ReRe SFT)")
    parser.add_argument("--metric", default=GateConfig().metric)
    parser.add_argument("--margin", type=float, default=NonInferiority().margin, help="loss that would be tolerated")
    parser.add_argument("--rows", type=int, nargs="+", help="sizes of test sets (default: the results' own)")
    parser.add_argument("--plot", type=Path, default=Path("reports/gate_power.svg"))
    options = parser.parse_args()
    try:
        config = GateConfig(metric=options.metric, test=NonInferiority(margin=options.margin))
        results = pd.concat(map(pd.read_parquet, options.results)) if options.results else _last_run()
        ours, theirs = (results[results["model"] == name] for name in options.models)
        if ours.empty or theirs.empty:
            known = ", ".join(map(str, results["model"].unique()))
            raise RereError(f"two of the models {known}", " and ".join(options.models), "name them by --models")
        table = power_table(ours, theirs, config, options.rows or [len(ours)])
        power = gate_power(ours, theirs, config)
    except (RereError, OSError) as error:
        parser.exit(1, f"{error}\n")
    assert power is not None
    draw(table, config, options.plot)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for size in options.rows or [len(ours)]:
        print(_resized(power, size).sentence)
    print(f"The curves are in {options.plot}.")


if __name__ == "__main__":
    main()
