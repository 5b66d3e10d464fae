"""Retraining in rounds, as `make retrain` does it, in a small world: new, spoiled, mended, nothing new."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
START, DAY = 1_000_000_000, 86_400
CONFIG = """
parameters:
  retrain: {start: {type: champion, epochs: 3, learning_rate: 0.002}}
  data:
    source: {type: tables, interactions: INTERACTIONS, items: ITEMS}
    split: {type: chronological}
    k_core: 1
  checks: {minimum_users: 10, minimum_items: 10, minimum_interactions: 100}
  windows: {history_items: 3}
  catalog:
    backbone: {type: scratch, layers: 1, width: 32, heads: 2, vocabulary: 300}
    code: prefix
  sft:
    distillation: null
    normalisation: vocab
    epochs: 12
    learning_rate: 0.01
    batch_tokens: 256
    patience: 12
    sequence_items: 20
    validation_rows: 100
  rl: {num_generations: 4, updates: 2, prompts: 8, device_batch_prompts: 8, validate_every: 2, validation_rows: 64}
  item_models: {rivals: [{type: sasrec, epochs: 1, layers: 1, width: 16, heads: 1}], teacher: sasrec}
  evaluation: {beams: 10, bootstrap_samples: 200}
  promotion:
    model_name: rere-rounds
    gate:
      test: {type: non_inferiority, margin: 0.1}
      maximum_total_loss: 0.1
      guard_margin: 0.1
      segment_margin: 0.1
      maximum_popularity_rise: 0.2
"""


def walks(users: int = 120, steps: int = 10, items: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users who come one per day and walk through the items, one or (more rarely) two on; a few items appear late."""
    random, rows = np.random.default_rng(0), []
    for user in range(users):
        there = items if user < 0.7 * users else items + 4
        at = int(random.integers(there))
        for step in range(steps):
            rows.append((f"u{user}", f"i{at}", START + user * DAY + step * 60))
            at = (at + int(random.choice([1, 2], p=[0.8, 0.2]))) % there
    catalogue = pd.DataFrame({"item_id": [f"i{n}" for n in range(items + 4)]})
    catalogue["title"] = [f"{'Star' if n % 2 else 'Moon'} {'Trip' if n % 3 else 'Port'} {n}" for n in range(items + 4)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), catalogue


@pytest.fixture(scope="module")
def rounds(project: Project) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    events, catalogue = walks()
    paths = [project.root / f"rounds_{name}.csv" for name in ("interactions", "items")]
    events.to_csv(paths[0], index=False)
    catalogue.to_csv(paths[1], index=False)
    config = project.config("rounds", CONFIG.replace("INTERACTIONS", str(paths[0])).replace("ITEMS", str(paths[1])))
    done = project.run("python", "-m", "infra.retrain_rounds", "-c", config)
    assert done.returncode == 0, done.stdout[-6000:]
    outcomes = Path(project.root / ".rere" / "retrain" / "outcomes.json").read_text(encoding="utf-8")
    return done, json.loads(outcomes)


def test_good_rounds_are_promoted_and_the_spoiled_one_is_refused(rounds: Any) -> None:
    done, outcomes = rounds
    assert [outcome["type"] for outcome in outcomes] == ["promoted", "refused", "promoted", "skipped"]
    assert [outcome["champion"] for outcome in outcomes] == ["1", "1", "3", "3"]
    assert any(reason.startswith("better than popularity") for reason in outcomes[1]["reasons"])
    assert "Round 2, refused. better than popularity" in done.stdout


def test_only_new_rows_are_read_and_a_refused_batch_leaves_nothing_behind(rounds: Any) -> None:
    counts = [outcome["new_interactions"] for outcome in rounds[1]]
    assert counts == [720, 240, 480, 0]  # the third goes on from the first, whose rows are the champion's


def test_training_goes_on_from_the_champion_and_meets_new_items(rounds: Any) -> None:
    starts = [outcome["start"] for outcome in rounds[1]]
    assert starts[0] == "backbone (there is no champion to go on from)"
    assert starts[1].startswith("champion (")
    assert starts[2] == "champion (24 items keep their codes, 0 are new)"


def test_nothing_new_is_skipped_with_the_reason(rounds: Any) -> None:
    assert rounds[1][3]["reasons"] == ["the source's files are those of the champion, version 3"]


def test_the_model_says_which_one_it_comes_from(rounds: Any, project: Project) -> None:
    records = (project.root / ".rere" / "zenml" / "local_stores").rglob("sft/sft_model/**/checkpoint/training.json")
    newest = sorted(records, key=lambda path: path.stat().st_mtime)[-3:]
    assert ["parent" in json.loads(path.read_text(encoding="utf-8")) for path in newest] == [False, True, True]


def test_a_run_with_nothing_new_comes_from_the_cache_and_ends_at_the_champion(rounds: Any, project: Project) -> None:
    def trained() -> int:
        return len([*(project.root / ".rere" / "zenml" / "local_stores").rglob("checkpoint/training.json")])

    before, told = trained(), project.root / "again.json"
    config = str(project.root / ".rere" / "retrain" / "config.yaml")
    done = project.run("rere", "retrain", "-c", config, "--when", "always", "--to", str(told))
    assert done.returncode == 0, done.stdout[-6000:]
    outcome = json.loads(told.read_text(encoding="utf-8"))
    assert (outcome["type"], outcome["version"], outcome["champion"]) == ("unchanged", "3", "3")
    assert trained() == before
