"""Plots as SVG text that sits in a page: its fonts, and its colours in light and dark.

Matplotlib draws with stand-in colours, which become the page's CSS variables (`--ink`, `--grid`, `--series-N`);
titles and captions belong to the page. Series differ by marker or dash as well as by colour.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rere.evaluation.power import Power

INK, GRID = "#010101", "#020202"
SERIES = tuple(f"#0303{n:02x}" for n in range(6))
VARIABLES = {INK: "var(--ink)", GRID: "var(--grid)"} | {c: f"var(--series-{n})" for n, c in enumerate(SERIES)}
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", ":")
NOISY = 60  # points from which a curve is smoothed
SIZE = (4.7, 3.0)  # inches: on a phone a unit is about a pixel, so text stays legible
NO_METADATA: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def metric_plot(summary: pd.DataFrame, metric: str, ks: Sequence[int]) -> str:
    """A metric at every K by model, with its intervals.

    Args:
        summary: rows of `evaluator.summarise` of one set of rows.
        metric: "hr" or "ndcg".
    """
    models = list(summary["model"].unique())
    with rc_context(STYLE | {"svg.hashsalt": metric}):
        figure, axes = new_axes()
        positions = np.arange(len(ks))
        for n, model in enumerate(models):
            own = summary[summary["model"] == model].set_index("metric").loc[[f"{metric}@{k}" for k in ks]]
            mean, low, high = (own[column].to_numpy(float) for column in ("mean", "low", "high"))
            axes.errorbar(
                positions + (n - (len(models) - 1) / 2) * 0.16,
                mean,
                yerr=np.maximum([mean - low, high - mean], 0),
                fmt=MARKERS[n % len(MARKERS)],
                color=SERIES[n % len(SERIES)],
                markersize=6,
                elinewidth=1.6,
                clip_on=False,  # a marker at 0 is whole
                label=model,
            )
        axes.set_xticks(positions, [str(k) for k in ks])
        axes.set_xlim(-0.5, len(ks) - 0.5)
        axes.set_xlabel("K (length of the list)")
        axes.set_ylabel(f"{metric.upper()}@K")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", handletextpad=0.3, borderaxespad=0)
        return page_svg(figure)


def curve_plot(records: Sequence[dict[str, float]], names: dict[str, str], label: str) -> str | None:
    """Training curves over updates; None where no record holds any of them.

    Curves of over `NOISY` points get their running mean over 5 % of the points on top of the pale raw curve.

    Args:
        names: metric -> its name in the legend.
        label: of the y axis, with its unit.
    """
    curves = {name: _points(records, name) for name in names}
    if not any(len(updates) for updates, _ in curves.values()):
        return None
    with rc_context(STYLE | {"svg.hashsalt": " ".join(names)}):
        figure, axes = new_axes()
        for n, (name, (updates, values)) in enumerate(curves.items()):
            colour, dash = SERIES[3 - n], DASHES[n % len(DASHES)]
            if len(values) > NOISY:
                axes.plot(updates, values, color=colour, linewidth=0.8, alpha=0.3)
                values = pd.Series(values).rolling(len(values) // 20, min_periods=1, center=True).mean().to_numpy()
            marker = "o" if len(values) <= NOISY // 2 else None
            axes.plot(updates, values, color=colour, linestyle=dash, marker=marker, markersize=4, label=names[name])
        axes.set_xlabel("update")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(names) > 1:
            axes.legend(loc="best")
        return page_svg(figure)


def power_plot(power: Power) -> str:
    """The share of challengers that pass, by how much better or worse than the champion they truly are."""
    reach = max(3.5 * power.error, 1.5 * abs(power.threshold)) or 1.0
    differences = np.linspace(power.threshold - reach, power.threshold + 2 * reach, 121)
    with rc_context(STYLE | {"svg.hashsalt": "power"}):
        figure, axes = new_axes()
        axes.plot(differences, [power.passes(difference) for difference in differences], color=SERIES[0])
        for n, marked in enumerate(dict.fromkeys((power.threshold, 0.0))):
            label = "as good as the champion" if marked == 0 else f"worse by the margin, {-marked:g}"
            axes.plot([marked], [power.passes(marked)], MARKERS[n + 1], color=SERIES[n + 1], markersize=7, label=label)
        axes.set_ylim(0, 1)
        axes.set_xlabel("true difference to the champion")
        axes.set_ylabel("share that passes")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="best")
        return page_svg(figure)


def _points(records: Sequence[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(updates, values) of the records that hold a finite value."""
    found = [(record["update"], record[name]) for record in records if np.isfinite(record.get(name, np.nan))]
    table = np.array(found, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def new_axes() -> tuple[Figure, Axes]:
    """An empty plot; use it within `rc_context(STYLE)`."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def page_svg(figure: Figure) -> str:
    """The figure as part of a page: without prolog, metadata, namespaces, ids of groups, font names and fixed size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = _without_namespace(element.tag)
        attributes = {_without_namespace(name): value for name, value in element.attrib.items()}
        if element.tag == "g":
            attributes.pop("id", None)
        if "style" in attributes:
            attributes["style"] = _with_page_font(attributes["style"])
        element.attrib = attributes
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    svg = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.strip()


def _without_namespace(name: str) -> str:
    return name.rpartition("}")[2]


def _with_page_font(style: str) -> str:
    """CSS declarations; of those that name a font only its size."""
    kept = []
    for declaration in style.split(";"):
        name, _, value = declaration.strip().partition(": ")
        if name == "font":
            kept.append(f"font-size: {value.split()[0]}")
        elif name and name != "font-family":
            kept.append(f"{name}: {value}")
    return "; ".join(kept)
