"""Print the run's result: the table, the decision with its reasons, the registered version, and what to do next."""

from __future__ import annotations

import pandas as pd
from zenml import step
from zenml.types import HTMLString

from ops.alerts.hooks import tell_outcome
from ops.registry.stages import Promoted
from ops.registry.zenml_registry import link_run
from ops.runtime.reports import write_report
from rere.config.evaluation import EvaluationConfig


@step(enable_cache=False, on_success=tell_outcome)
def summarise(metrics: pd.DataFrame, report: HTMLString, promotion: Promoted, evaluation: EvaluationConfig) -> None:
    """Print it and write the report's file, also when all else came from the cache: a run ends with its result."""
    from ops.gate.summary import print_summary

    link_run(promotion.model, promotion.version)  # with the promotion, which its own step couldn't link
    path, review = write_report(report, "report", link="latest"), write_report(promotion.page, "review")
    print_summary(metrics, promotion, evaluation, report=path, review=review)
