"""ReRe: reinforcement learning on the model's own constrained beams (arXiv 2510.12211).

An update: G items per prompt by constrained beam search; rewards by hit and by the rank of the score; group
advantages; a policy gradient with a k3 penalty to a reference that is synced regularly. Targets are item ids of their
row, so no label is looked up by text and no validation label can leak in.

Departs from the paper's code: candidates are scored as one token tree per prompt (same numbers); training
prompts are seen once per epoch in an order that depends on the seed only, so a resumed run and any number
of devices see the same order; the best validation NDCG@10 is kept, and the start counts as a candidate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.recommenders.base import Recommender
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.training.rl.policy import RLRun
from rere.training.rl.processes import received, rl_in_processes
from rere.training.rl.rewards.total import check_rewards


def train_rl(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    config: RLConfig,
    work: Path,
    *,
    log: Log,
    teacher: Recommender | None = None,
) -> Checkpoint:
    """Train further from `start`; resumes a run found in `work`.

    Args:
        teacher: the item model whose probabilities are a collaborative reward; its scores are log-probabilities up
            to a constant per row. A cross-fitted one answers for each row's user by the member that never saw them.

    Returns:
        The kept policy (see `RLConfig.keep`), adapters merged, sealed; `curves` has one record per update.

    Raises:
        RereError: no training or validation rows, an altered start, a collaborative reward without a teacher, a
            custom reward that can't be imported, prompts that don't fit into the model's context, unconstrained
            generation over items without an end, weights that diverge, or a process that failed.
    """
    if teacher is None and config.asks_teacher:
        raise RereError("an item model for the collaborative reward", "none", "pass `teacher`, or leave the reward out")
    if not distributed.is_worker():
        check_rewards(config.rewards, catalog.column_kinds)
    result = work / "model"
    if done := Checkpoint.finished(result):
        return done
    if config.launcher.starts_workers and not distributed.is_worker():
        return rl_in_processes(
            f"{__name__}:worker", start, windows, catalog, config, work=work, log=log, teacher=teacher
        )
    run = RLRun(start, windows, catalog, config, work / "progress", log=log, teacher=teacher)
    run.train()
    return run.finish(result, config.keep)


def worker(spec: dict[str, Any], log: Log) -> None:
    """Run one of several processes."""
    train_rl(**received(spec), log=log)
