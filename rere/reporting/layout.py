"""How the tables of pages and terminal are laid out: what `evaluator` and `breakdown` found, by model and metric."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from rere.config.evaluation import EvaluationConfig
from rere.reporting.page import sureness

FAMILIES = ("hr", "ndcg")
LISTS = {  # metric of `summarise` -> heading, what it means
    "coverage": ("Coverage", "share of the catalogue in anyone's list"),
    "diversity": ("Diversity", "share of items that two users' lists don't share"),
    "popularity_bias": ("Popularity", "mean popularity percentile: 0.5 is neutral, 1 only the most popular"),
    "invalid": ("Invalid", "share of slots without an item of the catalogue"),
    "duplicate": ("Repeated", "share of slots that repeat an item of their list"),
}


def metric_names(config: EvaluationConfig) -> list[str]:
    """Such as hr@1 and ndcg@10: every family at every K."""
    return [f"{family}@{k}" for family in FAMILIES for k in config.ks]


def subsets(summary: pd.DataFrame) -> list[str]:
    """The sets of rows worth a table: the warm ones only where they are not all."""
    sizes = summary.groupby("rows")["n"].max()
    return ["all"] + (["warm"] if sizes.get("warm", sizes["all"]) < sizes["all"] else [])


def by_model(summary: pd.DataFrame, rows: str, models: list[str]) -> dict[str, Any]:
    """rows, n, and cells: model -> metric -> mean, low, high, best."""
    part = summary[summary["rows"] == rows]
    best = part.groupby("metric")["mean"].transform("max") == part["mean"]
    cells: dict[str, dict[str, Mapping[Hashable, Any]]] = {model: {} for model in models}
    for record in part.assign(best=best).to_dict("records"):
        cells[record["model"]][record["metric"]] = record
    return {"rows": rows, "n": int(part["n"].max()), "cells": cells}


def by_part(parts: pd.DataFrame, models: list[str]) -> list[dict[str, Any]]:
    """Per kind of part: by, parts (name, rows), and cells: model -> part -> its record and whether it is the best."""
    found = []
    for by, own in parts.groupby("by", sort=False):
        best = own.groupby("part")["ndcg@10"].transform("max") == own["ndcg@10"]
        cells: dict[str, dict[str, Mapping[Hashable, Any]]] = {model: {} for model in models}
        for record in own.assign(best=best).to_dict("records"):
            cells[record["model"]][record["part"]] = record
        sizes = own.drop_duplicates("part")[["part", "n"]].values.tolist()
        found.append({"by": by, "parts": sizes, "cells": cells})
    return found


def by_rival(gains: pd.DataFrame) -> dict[str, dict[str, Mapping[Hashable, Any]]]:
    """Rival -> metric -> the paired difference on all rows."""
    found: dict[str, dict[str, Mapping[Hashable, Any]]] = {}
    for record in gains.to_dict("records"):
        if record["rows"] != "all":
            continue
        found.setdefault(record["rival"], {})[record["metric"]] = {**record, "sure": sureness(record)}
    return found


def list_metrics(summary: pd.DataFrame, config: EvaluationConfig, models: list[str]) -> dict[str, dict[str, float]]:
    """Model -> list metric (of `LISTS`, at the largest K where it has one) -> value."""
    part = summary[summary["rows"] == "all"].set_index(["model", "metric"])["mean"]
    return {model: {name: float(part[model, list_metric(name, config)]) for name in LISTS} for model in models}


def list_metric(name: str, config: EvaluationConfig) -> str:
    """What `summarise` calls a metric of `LISTS`: at the largest K, where it has one."""
    return name if name in ("invalid", "duplicate") else f"{name}@{max(config.ks)}"
