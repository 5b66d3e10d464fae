"""Plots of a study: how the metric went from trial to trial, what mattered, and each setting's values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from rere.reporting.plots import INK, MARKERS, SERIES, STYLE, new_axes, page_svg

BAR = 0.6  # of the distance between two bars


def history_plot(trials: pd.DataFrame, metric: str) -> str:
    """The metric of each judged trial, the best so far, and which trials were pruned or failed.

    Args:
        trials: as in `StudyResult`.
    """
    judged = trials[trials["outcome"] == "judged"]
    with rc_context(STYLE | {"svg.hashsalt": "history"}):
        figure, axes = new_axes()
        axes.plot(judged["number"], judged["value"], MARKERS[0], color=SERIES[3], markersize=6, label="judged")
        best = judged["value"].cummax()
        axes.step(judged["number"], best, where="post", color=SERIES[2], linestyle="--", label="best so far")
        low = float(judged["value"].min())
        for n, outcome in enumerate(("pruned", "failed")):
            numbers = trials.loc[trials["outcome"] == outcome, "number"]
            if len(numbers):
                bottom = np.full(len(numbers), low)
                axes.plot(numbers, bottom, "x" if n else "|", color=SERIES[5 if n else 0], markersize=8, label=outcome)
        axes.set_xlabel("trial")
        axes.set_ylabel(metric.upper())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="best")
        return page_svg(figure)


def importance_plot(importance: Mapping[str, float]) -> str | None:
    """A bar per setting, the most important on top; None where nothing is known."""
    if not importance:
        return None
    names = list(importance)[::-1]
    with rc_context(STYLE | {"svg.hashsalt": "importance", "axes.grid.axis": "x"}):
        figure, axes = new_axes()
        axes.barh(range(len(names)), [importance[name] for name in names], height=BAR, color=SERIES[3])
        for row, name in enumerate(names):  # above its bar: a dotted name is wider than a margin
            axes.text(0, row + BAR / 2 + 0.04, f"{name}  {importance[name]:.0%}", va="bottom", color=INK, fontsize=9)
        axes.set_yticks([])
        axes.set_ylim(-BAR, len(names) - 0.2)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("share of the variation explained")
        return page_svg(figure)


def value_plot(trials: pd.DataFrame, name: str, metric: str, scale: str) -> str:
    """The metric by a setting's value, a point per judged trial.

    Args:
        scale: linear, log, or words: the values are a category's names.
    """
    judged = trials[trials["outcome"] == "judged"]
    with rc_context(STYLE | {"svg.hashsalt": name}):
        figure, axes = new_axes()
        if scale == "words":
            words = sorted(judged[name].astype(str).unique())
            axes.plot(judged[name].astype(str).map(words.index), judged["value"], MARKERS[0], color=SERIES[3])
            axes.set_xticks(range(len(words)), [word if len(word) <= 16 else word[:15] + "…" for word in words])
            axes.set_xlim(-0.5, len(words) - 0.5)
        else:
            axes.plot(judged[name], judged["value"], MARKERS[0], color=SERIES[3])
            axes.set_xscale(scale)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name)
        axes.set_ylabel(metric.upper())
        return page_svg(figure)
