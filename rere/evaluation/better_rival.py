"""Whether one of the item models, which cost next to nothing to serve, ranks better than the model that is judged."""

from __future__ import annotations

import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation.bootstrap import paired_bootstrap
from rere.evaluation.evaluator import paired
from rere.evaluation.metrics import row_metric
from rere.recommenders.labels import Label


def better_item_model(ours: pd.DataFrame, results: pd.DataFrame, config: GateConfig) -> str | None:
    """A sentence for the reviewer where the best item model has a higher mean of the gate's metric; else None.

    Args:
        ours: rows of `evaluate` of the model that is judged.
        results: those of all models of the run, on the same rows.
    """
    rivals = results[~results["model"].isin([str(label) for label in Label])]
    if not len(rivals):
        return None
    means = {
        str(name): row_metric(config.metric, own["rank"].to_numpy()).mean()
        for name, own in rivals.groupby("model", sort=False)
    }
    best = max(means, key=lambda name: means[name])
    mine, theirs = paired(ours, rivals[rivals["model"] == best])
    values, others = (row_metric(config.metric, frame["rank"].to_numpy()) for frame in (mine, theirs))
    if values.mean() >= others.mean():
        return None
    gap = paired_bootstrap(
        others, values, config.bootstrap_samples, config.confidence, config.seed, units=mine["user_id"].to_numpy()
    )
    sure = "and surely so" if gap.low > 0 else "though it may be chance"
    return (
        f"Warning: the item model {best} ranks better on the same rows, {sure}: {config.metric} {others.mean():.4f} "
        f"against {values.mean():.4f}, a difference of {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]."
    )
