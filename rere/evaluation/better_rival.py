"""The model that is judged against the best of the run's item models, which cost next to nothing to serve."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation.bootstrap import Estimate, paired_bootstrap
from rere.evaluation.evaluator import paired_values
from rere.evaluation.metrics import row_metric
from rere.recommenders.labels import Label

WARNING = "Warning: "  # how a note on a verdict begins that speaks against the model


@dataclass(frozen=True)
class OverItemModel:
    """The gate's metric of the judged model minus that of the best item model, on the same rows.

    name: of the item model with the highest mean
    ours, theirs: the two means
    gain: their paired difference, ours - theirs
    """

    name: str
    metric: str
    ours: float
    theirs: float
    gain: Estimate

    @property
    def warning(self) -> str | None:
        """A sentence for those who decide where the item model's mean is higher; else None."""
        if self.ours >= self.theirs:
            return None
        sure = "and surely so" if self.gain.high < 0 else "though it may be chance"
        return (
            f"{WARNING}the item model {self.name} ranks better on the same rows, {sure}: {self.metric} "
            f"{self.theirs:.4f} against {self.ours:.4f}, a difference of {-self.gain.mean:+.4f} "
            f"[{-self.gain.high:+.4f}, {-self.gain.low:+.4f}]."
        )


def over_best_item_model(ours: pd.DataFrame, results: pd.DataFrame, config: GateConfig) -> OverItemModel | None:
    """Hold a model against the best item model; None where the run has none.

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
    values, others, rows = paired_values(ours, rivals[rivals["model"] == best], config.metric)
    gain = paired_bootstrap(
        values, others, config.bootstrap_samples, config.confidence, config.seed, units=rows["user_id"].to_numpy()
    )
    return OverItemModel(best, config.metric, float(values.mean()), float(others.mean()), gain)
