"""Three retrainings in a row on a source that grows, one of them with spoiled data: `python -m infra.retrain_rounds`.

The configuration's own source is cut by time: each round's export holds what happened so far, and `rere retrain` is
run on it as CI does. The second export is spoiled the way real ones are: its new rows lost their order in one column,
so users, items and times are all real, only not each other's. Counts, types and popularity look as ever; what stops
it is the gate. The third export is mended, and goes on; then the same again, which is skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import yaml

from rere.project import use_stack

if TYPE_CHECKING:
    from ops.retraining.outcome import Outcome

ROOT = Path(__file__).resolve().parents[1]
EXPORT = ("interactions.csv", "items.csv")


@dataclass(frozen=True)
class Round:
    """`until`: share of the interactions, in order of time, that the export holds."""

    until: float
    new_rows: Literal["as they are", "spoiled"]
    data: str


ROUNDS = (
    Round(0.6, "as they are", "the oldest 60 %"),
    Round(0.8, "spoiled", "to 80 %, new rows spoiled"),
    Round(1.0, "as they are", "to 100 %, mended"),
    Round(1.0, "as they are", "the same again"),
)


def export(events: pd.DataFrame, number: int, directory: Path) -> None:
    """Write the interactions of a round, in order of time, over those of the round before."""
    here, before = ROUNDS[number], ROUNDS[number - 1].until if number else 0.0
    rows, old = events.iloc[: round(here.until * len(events))], round(before * len(events))
    if here.new_rows == "spoiled":
        items = rows["item_id"].to_numpy(dtype=object).copy()
        items[old:] = np.random.default_rng(number).permutation(items[old:])
        rows = rows.assign(item_id=items)
    rows.to_csv(directory / EXPORT[0], index=False)


def prepare(config: Path, directory: Path) -> tuple[Path, pd.DataFrame]:
    """The configuration whose source is the export and where the gate decides, and all interactions in order."""
    from pipelines.checked import settings_of
    from pipelines.retrain import retrain_pipeline
    from rere.data.sources.base import load_source

    directory.mkdir(parents=True, exist_ok=True)
    chosen = settings_of(retrain_pipeline, config)
    raw = load_source(chosen["data"].source)
    raw.items.to_csv(directory / EXPORT[1], index=False)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    paths = dict(zip(("interactions", "items"), (str(directory / name) for name in EXPORT), strict=True))
    content["parameters"].setdefault("data", {})["source"] = {"type": "tables", **paths}
    content["parameters"].setdefault("promotion", {})["decided_by"] = "gate"
    own = directory / "config.yaml"
    own.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    events = raw.interactions.sort_values("timestamp", kind="stable").reset_index(drop=True)
    return own, events.astype({"user_id": "str", "item_id": "str"})


def forget(name: str) -> None:
    """Remove the rehearsal's own model from both registries, so that it starts without a champion."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from zenml.client import Client

    try:
        MlflowClient().delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    for model in Client().list_models(name=f"equals:{name}").items:
        Client().delete_model(model.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-c", "--config", type=Path, default=ROOT / "configs" / "retrain.yaml")
    parser.add_argument("--directory", type=Path, default=ROOT / ".rere" / "retrain", help="of exports and outcomes")
    arguments = parser.parse_args()

    use_stack()
    from pipelines.checked import settings_of
    from pipelines.explain import explain_errors
    from pipelines.retrain import retrain_pipeline
    from pipelines.retraining import retrain

    explain_errors()
    name = settings_of(retrain_pipeline, arguments.config)["promotion"].model_name
    if name == "rere":
        sys.exit("The rehearsal removes its model first: give it another `promotion.model_name` than rere.")
    forget(name)
    config, events = prepare(arguments.config, arguments.directory)
    outcomes: list[Outcome] = []
    for number, planned in enumerate(ROUNDS):
        print(f"\nRound {number + 1}: {planned.data}", flush=True)
        export(events, number, arguments.directory)
        outcomes.append(retrain(config))
    records = [outcome.model_dump(mode="json") for outcome in outcomes]
    (arguments.directory / "outcomes.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    show(outcomes)
    if [outcome.type for outcome in outcomes] != ["promoted", "refused", "promoted", "skipped"]:
        sys.exit("Expected: promoted, refused, promoted, skipped.")


def show(outcomes: Sequence[Outcome]) -> None:
    """The rounds as a table, then each refusal's reasons in full."""
    from rich.console import Console
    from rich.table import Table

    table = Table("round", "data", "new rows", "starts from", "NDCG@10", "outcome", "version", "champion", "seconds")
    for number, (planned, outcome) in enumerate(zip(ROUNDS, outcomes, strict=True), 1):
        value = "-" if outcome.value is None else f"{outcome.value:.4f}"
        start = outcome.start.split(" ")[0] or "-"
        figures = (f"{outcome.new_interactions:,}", start, value, outcome.type, outcome.version or "-")
        table.add_row(str(number), planned.data, *figures, outcome.champion or "-", f"{outcome.seconds:.0f}")
    console = Console(width=120, soft_wrap=True, highlight=False)
    console.print()
    console.print(table)
    for number, outcome in enumerate(outcomes, 1):
        for reason in outcome.reasons:
            console.print(f"Round {number}, {outcome.type}. {reason}", markup=False)


if __name__ == "__main__":
    main()
