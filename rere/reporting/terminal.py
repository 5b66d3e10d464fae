"""The results for the terminal."""

from __future__ import annotations

import pandas as pd
from rich.table import Table
from rich.text import Text

from rere.config.evaluation import EvaluationConfig
from rere.evaluation.breakdown import COLD, FEW
from rere.reporting.layout import by_model, metric_names


def results_table(summary: pd.DataFrame, config: EvaluationConfig) -> Table:
    """HR@K and NDCG@K of every model on all rows, ± half the width of the interval; the best in bold.

    The last columns tell NDCG at the largest K where little is known: of users with short histories, of unseen items.
    """
    own = summary[summary["rows"] == "all"]
    table = Table(
        title=f"{own['n'].max():,} test rows, whole catalogue ranked; ± half of the {config.confidence:.0%} interval"
    )
    table.add_column("Model")
    names = metric_names(config)
    for name in names:
        table.add_column(name.upper(), justify="right")
    sparse = [part for part in (FEW, COLD) if (summary["rows"] == part).any()]
    for part in sparse:
        table.add_column(f"{names[-1].upper()},\n{part}", justify="right")
    models = list(own["model"].unique())
    found = [(by_model(summary, "all", models), name) for name in names]
    found += [(by_model(summary, part, models), names[-1]) for part in sparse]
    for model in models:
        cells = [Text(model)]
        for part_of, name in found:
            cell = part_of["cells"][model][name]
            half = (cell["high"] - cell["low"]) / 2
            cells.append(Text(f"{cell['mean']:.4f}\n±{half:.4f}", style="bold" if cell["best"] else ""))
        table.add_row(*cells)
    return table
