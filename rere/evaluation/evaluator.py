"""Judge recommenders on the same rows: one row of results per judged row, then tables with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from rere.config.evaluation import EvaluationConfig
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.evaluation import metrics
from rere.evaluation.bootstrap import Estimate, bootstrap_means
from rere.recommenders.base import Recommender
from rere.runtime.progress import progress

BATCHES_PER_CALL = 16  # a recommender may group prompts of like length within a call


def evaluate(
    recommender: Recommender, rows: pd.DataFrame, item_index: Mapping[str, int], config: EvaluationConfig
) -> pd.DataFrame:
    """Rank the whole catalogue for every row. No candidate sampling, and no item is taken out of a list.

    Args:
        rows: as `Windows.of("test")`.
        item_index: item id -> item index, for the I items of the catalogue.

    Returns:
        One row per row judged: row_id, user_id, model (the recommender's name), target (item index), warm, rank
        (1-based position of the target, 0 when not among the first `beams`), items and scores (lists of length
        `beams`), invalid and duplicate (slots of the list, see `rere.evaluation.metrics`).

    Raises:
        RereError: no rows, an item that the catalogue lacks, or a ranking of another shape than promised.
    """
    if not len(rows):
        raise RereError("at least one row to judge", "none", "use more data, or another split")
    histories, targets = indexed_rows(rows, item_index)
    items = np.empty((len(rows), config.beams), dtype=np.int64)
    scores = np.empty((len(rows), config.beams), dtype=np.float32)
    size = BATCHES_PER_CALL * config.batch_prompts
    with progress(total=len(rows), desc=f"{recommender.name}: judged", unit="row") as bar:
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            ranking = recommender.recommend(histories[part], config.beams)
            expected = (part.stop - start, config.beams)
            if ranking.items.shape != expected or ranking.scores.shape != expected:
                raise RereError(
                    f"rankings of shape {expected} from {recommender.name}",
                    f"items {ranking.items.shape} and scores {ranking.scores.shape}",
                    "mend its `recommend`",
                )
            items[part], scores[part] = ranking.items, ranking.scores
            bar.update(part.stop - start)
    return pd.DataFrame(
        {
            "row_id": rows["row_id"].to_numpy(np.int64),
            "user_id": rows["user_id"].to_numpy(),
            "model": str(recommender.name),
            "target": targets,
            "warm": rows["warm"].to_numpy(bool),
            "rank": metrics.target_ranks(items, targets),
            "items": pd.Series(items.tolist(), dtype=object),
            "scores": pd.Series(scores.tolist(), dtype=object),
            "invalid": metrics.invalid_slots(items, len(item_index), scores),
            "duplicate": metrics.duplicate_slots(items),
        }
    )


def summarise(
    results: pd.DataFrame,
    config: EvaluationConfig,
    training_counts: np.ndarray,
    parts: Mapping[str, frozenset[int]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Every metric of every model, on all rows, on warm rows (target seen in training) and on further parts.

    Args:
        results: rows of `evaluate`, of one or more models.
        training_counts: (I,) training interactions per item.
        parts: row ids by name; parts without rows are left out.

    Returns:
        model, rows ("all", "warm" or a part's name), metric ("hr@1", ..., "coverage@10", "invalid", ...), mean, low,
        high, n (rows).
        Means over rows have a bootstrap interval over users; list metrics have none (NaN).
    """
    records: list[dict[str, Any]] = []
    for model, own in results.groupby("model", sort=False):
        for subset, part in [*_subsets(own), *_parts(own, parts)]:
            facts = {"model": model, "rows": subset, "n": len(part)}
            values = row_values(part, config)
            for name, estimate in zip(values, _estimates(values, part, config), strict=True):
                records.append(
                    facts | {"metric": name, "mean": estimate.mean, "low": estimate.low, "high": estimate.high}
                )
            for name, value in _list_metrics(part, config, training_counts).items():
                records.append(facts | {"metric": name, "mean": value, "low": np.nan, "high": np.nan})
    return pd.DataFrame(records)[["model", "rows", "metric", "mean", "low", "high", "n"]]


def compare(results: pd.DataFrame, pairs: Iterable[tuple[str, str]], config: EvaluationConfig) -> pd.DataFrame:
    """Paired differences, model minus rival, row by row.

    Returns:
        model, rival, rows, metric, difference, low, high, p_value, n; see `Estimate` for the p-value.

    Raises:
        RereError: a model without results, or two that were not judged on the same rows.
    """
    records: list[dict[str, Any]] = []
    for model, rival in pairs:
        ours, theirs = paired(results_of(results, model), results_of(results, rival))
        for subset, part in _subsets(ours):
            gain = row_values(part, config) - row_values(theirs.loc[part.index], config)
            for name, estimate in zip(gain, _estimates(gain, part, config), strict=True):
                records.append(
                    {"model": model, "rival": rival, "rows": subset, "metric": name, "difference": estimate.mean}
                    | {"low": estimate.low, "high": estimate.high, "p_value": estimate.p_value, "n": len(part)}
                )
    return pd.DataFrame(records)


def paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both results in the order of row_id; raises RereError unless they are of the same rows and targets."""
    left, right = (frame.sort_values("row_id").reset_index(drop=True) for frame in (ours, theirs))
    if len(left) != len(right) or not (left[["row_id", "target"]] == right[["row_id", "target"]]).all(axis=None):
        raise RereError(
            f"{ours['model'].iloc[0]} and {theirs['model'].iloc[0]} judged on the same rows",
            f"{len(left)} and {len(right)} rows, which differ",
            "evaluate both on one split",
        )
    return left, right


def paired_values(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """A metric of both, (R,) each in the order of row_id, and ours in that order; raises as `paired`."""
    left, right = paired(ours, theirs)
    values, others = (metrics.row_metric(metric, frame["rank"].to_numpy()) for frame in (left, right))
    return values, others, left


def row_values(results: pd.DataFrame, config: EvaluationConfig) -> pd.DataFrame:
    """(R, metrics) values of HR and NDCG at every k."""
    ranks = results["rank"].to_numpy()
    names = [f"{metric}@{k}" for metric in metrics.ROW_METRICS for k in config.ks]
    return pd.DataFrame({name: metrics.row_metric(name, ranks) for name in names}, index=results.index)


def _estimates(values: pd.DataFrame, rows: pd.DataFrame, config: EvaluationConfig) -> list[Estimate]:
    return bootstrap_means(
        values.to_numpy(), config.bootstrap_samples, config.confidence, config.seed, rows["user_id"].to_numpy()
    )


def _list_metrics(results: pd.DataFrame, config: EvaluationConfig, training_counts: np.ndarray) -> dict[str, float]:
    items, found = np.array(results["items"].tolist(), dtype=np.int64), {}
    for k in config.ks:
        top = items[:, :k]
        found[f"coverage@{k}"] = metrics.coverage(top, len(training_counts))
        found[f"diversity@{k}"] = metrics.diversity(top, len(training_counts))
        found[f"popularity_bias@{k}"] = metrics.popularity_bias(top, training_counts)
    found["invalid"] = float(results["invalid"].sum()) / items.size
    found["duplicate"] = float(results["duplicate"].sum()) / items.size
    return found


def _subsets(results: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """All rows, and the warm ones where there are any."""
    warm = results[results["warm"]]
    return [("all", results), *([("warm", warm)] if len(warm) else [])]


def _parts(results: pd.DataFrame, parts: Mapping[str, frozenset[int]]) -> list[tuple[str, pd.DataFrame]]:
    found = {name: results[results["row_id"].isin(ids)] for name, ids in parts.items()}
    return [(name, part) for name, part in found.items() if len(part)]


def results_of(results: pd.DataFrame, model: str) -> pd.DataFrame:
    """One model's rows; RereError where it has none."""
    own = results[results["model"] == model]
    if not len(own):
        known = ", ".join(map(str, results["model"].unique()))
        raise RereError(f"results of the model {str(model)!r}", f"only: {known}", "evaluate it, or correct the name")
    return own
