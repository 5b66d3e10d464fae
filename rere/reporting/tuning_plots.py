"""Plots of a study: how the metric went from trial to trial, what mattered, and each setting's values."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from rere.config.tuning import Choices, IntRange, Range
from rere.reporting.plots import INK, MARKERS, SERIES, STYLE, new_axes, page_svg
from rere.tuning.importance import Importance

BAR = 0.45  # of the distance between two bars
BOTTOM = 0.03  # of the axes' height: where trials without a score are


def history_plot(trials: pd.DataFrame, metric: str) -> str:
    """The metric of each judged trial, the best so far, and which trials were pruned or failed.

    Args:
        trials: as in `StudyResult`.
    """
    judged = trials[trials["outcome"] == "judged"]
    with rc_context(STYLE | {"svg.hashsalt": "history"}):
        figure, axes = new_axes()
        axes.plot(judged["number"], judged["value"], MARKERS[0], color=SERIES[3], markersize=6, label="judged")
        best = trials["value"].cummax().ffill()
        axes.step(trials["number"], best, where="post", color=SERIES[2], linestyle="--", label="best so far")
        axes.margins(y=0.15)
        for outcome, marker, colour in (("pruned", "|", SERIES[0]), ("failed", "x", SERIES[5])):
            numbers = trials.loc[trials["outcome"] == outcome, "number"]
            if len(numbers):
                axes.plot(
                    numbers,
                    [BOTTOM] * len(numbers),
                    marker,
                    color=colour,
                    markersize=8,
                    markeredgewidth=2,
                    label=f"{outcome}: no score",
                    transform=axes.get_xaxis_transform(),
                )
        axes.set_xlabel("trial")
        axes.set_ylabel(metric.upper())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="best")
        return page_svg(figure)


def importance_plot(importance: Mapping[str, Importance]) -> str | None:
    """A bar per setting with its middle 80 %, the most important on top; None where nothing is known."""
    if not importance:
        return None
    names = list(importance)[::-1]
    with rc_context(STYLE | {"svg.hashsalt": "importance", "axes.grid.axis": "x"}):
        figure, axes = new_axes()
        axes.barh(range(len(names)), [importance[name].share for name in names], height=BAR, color=SERIES[3], alpha=0.6)
        for row, name in enumerate(names):  # above its bar: a dotted name is wider than a margin
            own = importance[name]
            axes.plot([own.low, own.high], [row, row], color=INK, linewidth=1.6, marker="|", markersize=8)
            said = f"{name}  {own.share:.0%} ({own.low:.0%} to {own.high:.0%})"
            axes.text(0, row + BAR / 2 + 0.04, said, va="bottom", color=INK, fontsize=9)
        axes.set_yticks([])
        axes.set_ylim(-BAR, len(names) - 0.2)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("share of the variation explained")
        return page_svg(figure)


def value_plot(trials: pd.DataFrame, name: str, metric: str, own: Range) -> str:
    """The metric by a setting's value over its whole range, a point per judged trial."""
    judged = trials[trials["outcome"] == "judged"]
    with rc_context(STYLE | {"svg.hashsalt": name}):
        figure, axes = new_axes()
        if isinstance(own, Choices):
            words = sorted(judged[name].astype(str).unique())
            axes.plot(judged[name].astype(str).map(words.index), judged["value"], MARKERS[0], color=SERIES[3])
            axes.set_xticks(range(len(words)), [word if len(word) <= 16 else word[:15] + "…" for word in words])
            axes.set_xlim(-0.5, len(words) - 0.5)
        else:
            axes.plot(judged[name], judged["value"], MARKERS[0], color=SERIES[3], clip_on=False)
            axes.set_xscale(own.scale)
            if own.scale == "log":
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            else:
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=isinstance(own, IntRange)))
            axes.set_xlim(own.low, own.high)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name)
        axes.set_ylabel(metric.upper())
        return page_svg(figure)
