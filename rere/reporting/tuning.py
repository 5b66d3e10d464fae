"""The page of a study: what was gained, how, by which settings, and every trial. One file that opens offline."""

from __future__ import annotations

import pandas as pd

from rere.reporting.page import drawn, environment
from rere.reporting.tuning_plots import history_plot, importance_plot, value_plot
from rere.tuning.importance import sureness
from rere.tuning.result import StudyResult


def render_tuning(result: StudyResult, data: str, configuration: str, command: str) -> str:
    """The page, as HTML text.

    Args:
        data: what the trials were trained on, in words.
        configuration: of the best settings, as it is written beside the page.
        command: that trains with them.
    """
    config, trials = result.spec.config, result.trials
    space = config.space
    return (
        environment()
        .get_template("tuning.html.j2")
        .render(
            config=config,
            data=data,
            result=result,
            best=trials.iloc[result.best].to_dict(),
            first=None if result.first is None else trials.iloc[result.first].to_dict(),
            values=result.values(result.best),
            trials=trials.sort_values("value", ascending=False, na_position="last", kind="stable").to_dict("records"),
            names=list(space),
            known=pd.notna,
            sure=sureness(result.importance, result.count("judged")),
            plots=drawn(
                [
                    (f"{config.metric.upper()} by trial", history_plot(trials, config.metric)),
                    ("What mattered", importance_plot(result.importance)),
                ]
            ),
            slices=drawn([(name, value_plot(trials, name, config.metric, own)) for name, own in space.items()]),
            configuration=configuration,
            command=command,
        )
    )
